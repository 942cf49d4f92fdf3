"""Parameters and optimizers in the middle of their work, for the tests of dual variables."""

import pytest
import torch

from regularizer_cases import LARGE
from snnbreg.optim import AdaBreg, LinBreg

BREGMAN = pytest.mark.parametrize("kind", [AdaBreg, LinBreg])
REGULARIZED = pytest.mark.parametrize("regularizer", LARGE)


def weights(regularizer="l1", dtype=torch.float32, sparse=False, seed=0):
    """A parameter, or several where the regulariser couples them."""
    torch.manual_seed(seed)
    params = []
    for shape in LARGE[regularizer]:
        theta = 0.1 * torch.randn(shape, dtype=dtype)
        if sparse:
            theta *= torch.rand(shape) < 0.3
        params.append(torch.nn.Parameter(theta.abs() if regularizer == "l1_nonneg" else theta))
    return params


def weight(*args, **kwargs):
    (param,) = weights(*args, **kwargs)
    return param


def copies(params):
    return [param.detach().clone() for param in params]


def assert_close(found, expected, atol, rtol=0.0):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.detach(), other, atol=atol, rtol=rtol)


def same_zeros(regularizer, first, second):
    """Of low rank, weights are zero up to rounding."""
    zeros = zip(first, second, strict=True)
    return regularizer == "nuclear" or all(torch.equal(a == 0, b == 0) for a, b in zeros)


def push(optimizer, params, gradient, count=1):
    params = [params] if isinstance(params, torch.Tensor) else params
    for _ in range(count):
        for param in params:
            value = gradient() if callable(gradient) else gradient
            param.grad = torch.as_tensor(value, dtype=param.dtype).expand_as(param).contiguous()
        optimizer.step()


def anything(params, seed):
    torch.manual_seed(seed)
    for param in params:
        param.grad = torch.randn_like(param)


def moved(kind, regularizer="l1", dtype=torch.float32, **settings):
    """An optimizer in the middle of its work, with zero and non-zero weights."""
    params = weights(regularizer, dtype, sparse=regularizer in ("l1", "l1_nonneg"))
    optimizer = kind(params, lr=0.02, lam=0.2, regularizer=regularizer, **settings)
    for seed in range(20):
        anything(params, seed)
        optimizer.step()
    return optimizer, params[0] if len(params) == 1 else params


def forget_momentum(optimizer):
    for state in optimizer.state.values():
        for key in ("exp_avg", "momentum_buffer"):
            state.get(key, torch.zeros(1)).zero_()
