"""The output layer without variables of its own.

It is linear: its last membrane is W s with s = sum_t leak^(T-t) a[t] of the last spikes. So its
membranes and multipliers may be left out of the Lagrangian, which keeps ||W s - Y||^2, and labels
can no longer be met by residuals of the output layer. The spikes of all steps then meet in that
term, by K numbers per sample, and still have a minimiser in closed form (Woodbury).

Symbols as in ``equations``. Derived here; the publication has it not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnbreg.admm.equations import Neuron, Penalties, heaviside


def decays(steps: int, leak: float, like: Tensor) -> Tensor:
    """leak^(T-t): what is left of a spike of step t at the last step, (T,)."""
    ages = torch.arange(steps - 1, -1, -1, dtype=torch.float64, device=like.device)
    return (leak**ages).to(like.dtype)


def filtered(spikes: Tensor, leak: float) -> Tensor:
    """What the last membranes are linear in: s = sum_t leak^(T-t) a[t], (N, n) of (T, N, n)."""
    return torch.einsum("tnk,t->nk", spikes, decays(len(spikes), leak, spikes))


def last_spikes(
    weight: Tensor,
    z: Tensor,
    current: Tensor,
    target: Tensor,
    layer: int,
    neuron: Neuron,
    penalties: Penalties,
) -> Tensor:
    """Spikes of the last hidden layer at all steps, clipped to [0, 1].

    Minimises ||W s - Y||^2 + sum_t c[t]/2 ||a[t] - b[t]||^2, in which the second term is what
    membranes and spikes cost: c b collects what they ask for. With e = W s - Y the gradient is
    c[t] (a[t] - b[t]) + 2 leak^(T-t) W^T e, and so
    (I + 2 sum_t leak^(2(T-t)) / c[t] W W^T) e = W sum_t leak^(T-t) b[t] - Y.

    Args:
        weight: of the output layer, (K, n).
        z: membranes of this layer, (T, N, n).
        current: W a of this layer, (T, N, n).
        target: one-hot labels Y, (N, K).
        layer: this layer's number, from 0.
        neuron: leak, threshold and reset.
        penalties: rho by layer, and beta.
    """
    rho, beta = penalties.rho[layer], penalties.beta
    decay = decays(len(z), neuron.leak, z)
    curvature = torch.full_like(decay, beta)
    curvature[:-1] += rho * neuron.reset**2
    asked = heaviside(z, neuron.threshold).mul_(beta)
    later = torch.sub(z[1:], z[:-1], alpha=neuron.leak).sub_(current[1:])
    asked[:-1].sub_(later, alpha=rho * neuron.reset)  # a spike resets the step after it
    spikes = asked.div_(curvature[:, None, None])
    w = weight.double()
    system = 2 * float((decay.double() ** 2 / curvature).sum()) * w @ w.T
    system.diagonal().add_(1.0)
    miss = (filtered(spikes, neuron.leak) @ weight.T - target).double()
    error = torch.linalg.solve(system, miss.T).T.to(z.dtype)
    pull = error @ weight
    for spike, share in zip(spikes, (2 * decay / curvature).tolist(), strict=True):
        spike.sub_(pull, alpha=share)
    return spikes.clamp_(0.0, 1.0)
