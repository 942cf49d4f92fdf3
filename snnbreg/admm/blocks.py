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

from snnbreg.admm.equations import PIECE, Neuron, Penalties, few_steps, heaviside

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
    inner = ShiftedGram(weight, up, rho * neuron.reset**2 + beta)
    last = ShiftedGram(weight, up, beta)
    found = torch.empty_like(z)
    for steps in few_steps(z[:-1]):  # all but the last
        after = slice(steps.start + 1, steps.stop + 1)
        wanted = torch.addmm(
            beta * heaviside(z[steps], neuron.threshold).flatten(0, 1),
            above[steps].flatten(0, 1),
            weight,
            alpha=up,
        ).view_as(z[steps])
        later = torch.sub(z[after], z[steps], alpha=neuron.leak).sub_(current[after])
        wanted.sub_(later, alpha=rho * neuron.reset)  # a spike resets the step after it
        found[steps] = inner.solve(wanted).clamp_(0.0, 1.0)
    wanted = up * above[-1] @ weight + beta * heaviside(z[-1], neuron.threshold)
    found[-1] = last.solve(wanted).clamp_(0.0, 1.0)
    return found


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
    distance = free - threshold
    silent = distance <= 0
    gain = torch.mul(a, -2 * beta).add_(beta)  # of not spiking over spiking
    gain = torch.where(silent, -gain, gain)
    spiking, parked = (free.new_tensor(x) for x in (threshold * (1 + MARGIN), threshold))
    pays = gain > distance.square_().mul_(curvature)
    return torch.where(pays, torch.where(silent, spiking, parked), free)


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
    leak, kappa = neuron.leak, 1 + neuron.leak**2
    z, last = z.clone(), len(z) - 1
    size = max(1, PIECE // max(1, z[0].numel()))
    for first in ((last + 1) % 2, last % 2):
        for start in range(first, len(z), 2 * size):
            here = slice(start, min(start + 2 * size, len(z)), 2)
            free = current[here].clone()
            end = start + 2 * (len(free) - 1)  # the last of these steps
            alone = 1 if start == 0 else 0  # the first step has none before it
            before = slice(start - 1 + 2 * alone, max(end, 0), 2)
            free[alone:].add_(z[before], alpha=leak).sub_(a[before], alpha=neuron.reset)
            inner = len(free) - (end == last)  # the last step has none after it
            after = slice(start + 1, start + 2 * inner, 2)
            ahead = torch.sub(z[after], current[after]).add_(a[here][:inner], alpha=neuron.reset)
            free[:inner].add_(ahead, alpha=leak).div_(kappa)
            curvature = free.new_full((len(free), 1, 1), penalties.rho[layer])
            curvature[:inner] *= kappa
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
