"""A small training for tests of sparsifiers, and one step of it."""

import torch
from torch import nn

from snnbreg.optim import Course


def course(*weights, kind=torch.optim.SGD, epochs=10, steps=20, seed=0, **options):
    """A network whose parameters are these matrices, with an optimizer of them."""
    network = nn.Module()
    for i, weight in enumerate(weights):
        setattr(network, f"w{i}", nn.Parameter(torch.as_tensor(weight).clone()))
    optimizer = kind(network.parameters(), **{"lr": 0.1, **options})
    return Course(
        network, dict(network.named_parameters()), {"weights": optimizer}, epochs, steps, seed
    )


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step(sparsifier, *gradients):
    """One step of the loop: gradients, what the sparsifier makes of them, the optimizer."""
    for weight, gradient in zip(sparsifier.weights, gradients, strict=True):
        weight.grad = torch.as_tensor(gradient).clone()
    sparsifier.after_backward()
    sparsifier.optimizer.step()
    sparsifier.after_step()


def force(sparsifier, *masks):
    for own, mask in zip(sparsifier.masks.values(), masks, strict=True):
        own.copy_(torch.as_tensor(mask, dtype=torch.bool))


def kept(sparsifier):
    return sum(int(mask.sum()) for mask in sparsifier.masks.values())
