"""The same updates in the published order: one step after another, in a random order.

The last step comes last. Slow, and what the vectorised ``blocks`` are compared with. Symbols,
equations and legend as in ``equations``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnbreg.admm.blocks import ShiftedGram, snapped
from snnbreg.admm.equations import Neuron, Penalties, heaviside


def hidden_steps(
    above: Tensor,
    weight: Tensor,
    z: Tensor,
    a: Tensor,
    current: Tensor,
    layer: int,
    order: Tensor,
    neuron: Neuron,
    penalties: Penalties,
    stale: bool = False,
) -> tuple[Tensor, Tensor]:
    """Spikes and membranes of a hidden layer, step by step.

    Args:
        above: what the next layer's current should be, its ``drive`` and dual / rho, (T, N, m).
        weight: of the next layer, (m, n).
        z: membranes as they were, (T, N, n).
        a: spikes as they were, (T, N, n).
        current: W a of this layer, (T, N, n).
        layer: this layer's number, from 0.
        order: of the steps but the last one, a permutation of 0..T-2.
        neuron: leak, threshold and reset.
        penalties: rho by layer, and beta.
        stale: what the reset wants of a spike is computed once, before the first step, as in the
            published code, and not from the membranes of the moment.

    Returns:
        Membranes and spikes, (T, N, n) each.
    """
    rho, up, beta = penalties.rho[layer], penalties.rho[layer + 1], penalties.beta
    leak, reset = neuron.leak, neuron.reset
    inner = ShiftedGram(weight, up, rho * reset**2 + beta)
    last = ShiftedGram(weight, up, beta)
    z, a = z.clone(), a.clone()
    zero = torch.zeros_like(z[0])
    source = z.clone() if stale else z
    for t in [*order.tolist(), len(z) - 1]:
        final = t == len(z) - 1
        wanted = up * above[t] @ weight + beta * heaviside(z[t], neuron.threshold)
        if not final:
            later = source[t + 1] - leak * source[t] - current[t + 1]
            wanted = wanted - rho * reset * later
        a[t] = (last if final else inner).solve(wanted).clamp(0.0, 1.0)
        before = leak * z[t - 1] - reset * a[t - 1] if t > 0 else zero
        free, curvature = current[t] + before, rho
        if not final:
            after = z[t + 1] - current[t + 1] + reset * a[t]
            free, curvature = (free + leak * after) / (1 + leak**2), rho * (1 + leak**2)
        z[t] = snapped(free, a[t], curvature, neuron, beta)
    return z, a


def output_steps(
    z: Tensor,
    current: Tensor,
    dual: Tensor,
    target: Tensor,
    order: Tensor,
    leak: float,
    rho: float,
) -> Tensor:
    """Membranes of the output layer, step by step.

    Args:
        z: as they were, (T, N, K).
        current: W a of the output layer, (T, N, K).
        dual: (T, N, K).
        target: one-hot labels, (N, K).
        order: of the steps but the last one.
        leak: of the membranes.
        rho: of the output layer.
    """
    z = z.clone()
    wanted = current - dual / rho
    zero = torch.zeros_like(z[0])
    for t in [*order.tolist(), len(z) - 1]:
        free = wanted[t] + (leak * z[t - 1] if t > 0 else zero)
        if t == len(z) - 1:
            z[t] = (rho * free + 2 * target) / (2 + rho)
        else:
            z[t] = (free + leak * (z[t + 1] - wanted[t + 1])) / (1 + leak**2)
    return z
