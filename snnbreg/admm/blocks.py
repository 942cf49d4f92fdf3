"""Exact block updates of spikes and membranes, many steps at a time.

Given the membranes the spikes of different steps do not meet in the Lagrangian, and a membrane
meets those of the steps before and after it alone. So all spikes of a layer are one product, its
membranes two: every second step, then the steps between; the output layer is one tridiagonal
system for all samples.

Symbols, equations and legend as in ``equations``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnbreg.admm.equations import Neuron, Penalties, heaviside

MARGIN = 1e-5
"""A membrane that is made to spike is put so far above the threshold, as a fraction of it."""


class ShiftedGram:
    """Solves x (rho W^T W + c I) = y for rows y; factorised once, in float64.

    With fewer receivers than senders only a matrix of the receivers' size is inverted (Woodbury):
    (rho W^T W + c I)^-1 = (I - W^T (c/rho I + W W^T)^-1 W) / c.

    Args:
        weight: W, (receivers, senders).
        rho: > 0.
        shift: c, > 0.
    """

    def __init__(self, weight: Tensor, rho: float, shift: float) -> None:
        w = weight.double()
        self.weight, self.shift = weight, shift
        self.small = weight.shape[0] < weight.shape[1]
        matrix = w @ w.T + shift / rho * _eye(w.shape[0], w) if self.small else (
            rho * w.T @ w + shift * _eye(w.shape[1], w)
        )  # fmt: skip
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix)).to(weight.dtype)

    def solve(self, y: Tensor) -> Tensor:
        """The solution x for each row of y, (..., senders)."""
        if not self.small:
            return y @ self.inverse
        within = (y @ self.weight.T) @ self.inverse
        return (y - within @ self.weight) / self.shift


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def spikes(
    above: Tensor,
    weight: Tensor,
    z: Tensor,
    current: Tensor,
    layer: int,
    neuron: Neuron,
    penalties: Penalties,
) -> Tensor:
    """Spikes of a hidden layer at all steps, clipped to [0, 1] (not the minimiser in the box).

    Args:
        above: what the next layer's current should be, its ``drive`` and dual / rho, (T, N, m).
        weight: of the next layer, (m, n).
        z: membranes of this layer, (T, N, n).
        current: W a of this layer, (T, N, n).
        layer: this layer's number, from 0.
        neuron: leak, threshold and reset.
        penalties: rho by layer, and beta.
    """
    rho, up, beta = penalties.rho[layer], penalties.rho[layer + 1], penalties.beta
    wanted = (up * above) @ weight + beta * heaviside(z, neuron.threshold)
    later = torch.sub(z[1:], z[:-1], alpha=neuron.leak).sub_(current[1:])
    wanted[:-1].sub_(later, alpha=rho * neuron.reset)  # a spike resets the step after it
    inner = ShiftedGram(weight, up, rho * neuron.reset**2 + beta).solve(wanted[:-1])
    last = ShiftedGram(weight, up, beta).solve(wanted[-1:])
    return torch.cat([inner, last]).clamp_(0.0, 1.0)


def snapped(
    free: Tensor, a: Tensor, curvature: Tensor | float, neuron: Neuron, beta: float
) -> Tensor:
    """Membranes that agree with the spikes where that costs less than staying where they are.

    Minimises ``curvature/2 (z - free)^2 + beta/2 (a - h(z))^2`` entry by entry, exactly but for
    the margin above the threshold, where the minimum is approached and not reached.

    Args:
        free: the minimiser without the spikes, any shape.
        a: spikes, in [0, 1], same shape.
        curvature: of the quadratic part, a number or broadcast.
        neuron: has the threshold.
        beta: weight of the spikes.
    """
    threshold = neuron.threshold
    cost = curvature * (free - threshold).square()
    gain = beta * (1 - 2 * a)  # of not spiking over spiking
    fires = free > threshold
    kept = torch.where(fires & (gain > cost), threshold, free)
    return torch.where(~fires & (-gain > cost), threshold * (1 + MARGIN), kept)


def membranes(
    z: Tensor, a: Tensor, current: Tensor, layer: int, neuron: Neuron, penalties: Penalties
) -> Tensor:
    """Membranes of a hidden layer: every second step, then the others and with them the last.

    Args:
        z: as they were, (T, N, n).
        a: spikes, (T, N, n).
        current: W a of this layer, (T, N, n).
        layer: this layer's number, from 0.
        neuron: leak, threshold and reset.
        penalties: rho by layer, and beta.
    """
    rho, leak = penalties.rho[layer], neuron.leak
    z = z.clone()
    resets = current.clone()  # all that reaches a membrane but what leaks from the step before
    resets[1:].sub_(a[:-1], alpha=neuron.reset)
    last = len(z) - 1
    for first in ((last + 1) % 2, last % 2):
        here, there = slice(first, None, 2), slice(first + 1, None, 2)
        free = resets[here].clone()
        alone = 1 - first  # step 0 has none before it
        free[alone:].add_(z[1 - first :: 2][: len(free) - alone], alpha=leak)
        count = len(z[there])  # the steps here that have one after them
        after = torch.sub(z[there], resets[there])
        free[:count].add_(after, alpha=leak).div_(1 + leak**2)
        curvature = free.new_full((len(free), 1, 1), rho)
        curvature[:count] = rho * (1 + leak**2)
        z[here] = snapped(free, a[here], curvature, neuron, penalties.beta)
    return z


def output_membranes(
    current: Tensor, dual: Tensor, target: Tensor, leak: float, rho: float
) -> Tensor:
    """Membranes of the output layer at all steps: the solution of a tridiagonal system.

    Args:
        current: W a of the output layer, (T, N, K).
        dual: (T, N, K).
        target: one-hot labels, (N, K).
        leak: of the membranes.
        rho: of the output layer.
    """
    steps = len(current)
    wanted = rho * current - dual
    right = wanted.clone()
    right[:-1].sub_(wanted[1:], alpha=leak)
    right[-1] += 2 * target
    diagonal = torch.full((steps,), rho * (1 + leak**2), dtype=torch.float64)
    diagonal[-1] = rho + 2
    beside = torch.full((steps - 1,), -rho * leak, dtype=torch.float64)
    matrix = diagonal.diag() + beside.diag(1) + beside.diag(-1)
    factor = torch.linalg.cholesky(matrix).to(current)
    return torch.cholesky_solve(right.flatten(1), factor).view_as(right)
