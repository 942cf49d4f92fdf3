"""A recurrent LIF layer with delays, over time: the readable form that fast engines must equal.

Legend: T time steps, B batch, N neurons, K ages (delay kernel h, k = 1 .. K).

    z_j[t] = sum_k h_j(k) S_j[t-k]           the senders' spike history, filtered
    R[t]   = W z[t]                          recurrent current; W: row = receiver
    S[t]   = LIF(I[t] + M R[t])              M: dropout mask, one per sample, held for all T

Filtering first costs N^2 + N K products per step and sample; the published code multiplies every
slot of its buffer by W, N^2 K, with the same result. Delays per synapse cannot be filtered per
sender: then R_i[t] = sum_k sum_j (W_ij h_ij(k)) S_j[t-k], a matrix for every age.

Either way a spike is *delivered* into the coming K steps of one buffer (T, B, N), so that each
step only reads its own row. The backward pass is the mirror image: from the last step to the
first, a step's gradient is delivered into the K steps before it. Nothing K long is kept.

Reference: Queant et al. 2025, "DelRec", arXiv 2509.24852, section 3, and its public code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .delay import delay_kernel, kernel_length
from .lif import DEFAULTS, LIFParameters, charge, check_current, discharge, discharge_slope
from .surrogates import spike, surrogate_slope


def delayed_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    lif: LIFParameters = DEFAULTS,
) -> Tensor:
    """Spikes of a recurrent LIF layer whose recurrent spikes arrive late.

    Differentiable once in ``current``, ``weight``, ``delay`` and ``half_width``.

    Args:
        current: feed-forward input I, (T, B, N).
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,) per sender (axonal) or (N, N) as ``weight`` (synaptic); zero is
            the ordinary recurrence of one step. Part of a kernel before k = 1 is lost.
        half_width: s >= 1 in steps, a scalar tensor or (N,) per sender.
        mask: factors on the recurrent current, (B, N), held over all T (dropout), or None.
        lif: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Raises:
        ValueError: for shapes or types that do not fit together, and for values that are not
            finite in ``delay``, ``half_width`` or ``weight``.

    Example:
        One neuron excites itself with a delay of 2, so its spike comes back 3 steps later.

        >>> current = torch.zeros(8, 1, 1)
        >>> current[0] = 1.0
        >>> spikes = delayed_recurrence(
        ...     current, torch.ones(1, 1), torch.tensor([2.0]), torch.tensor(1.0)
        ... )
        >>> spikes.flatten()
        tensor([1., 0., 0., 1., 0., 0., 1., 0.])
    """
    check_recurrence(current, weight, delay, half_width, mask)
    kernel = delay_kernel(delay, half_width, kernel_length(delay, half_width, len(current)))
    if delay.ndim == 2:
        return _Recurrence.apply(current, None, weight * kernel, mask, lif)
    return _Recurrence.apply(current, weight, kernel.unsqueeze(1), mask, lif)


class _Recurrence(torch.autograd.Function):
    """The loop over time, with a backward pass that keeps four (T, B, N) tensors and no more.

    ``kernel`` is (K, 1, N) per sender, or (K, N, N) = (age, receiver, sender) with the weights
    already inside; then ``weight`` is None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        weight: Tensor | None,
        kernel: Tensor,
        mask: Tensor | None,
        lif: LIFParameters,
    ) -> Tensor:
        arriving = current.new_zeros(current.shape)  # z (axonal) or R (synaptic)
        membrane = current.new_empty(current.shape)  # H
        spikes = current.new_empty(current.shape)  # S
        v = current.new_zeros(current.shape[1:])
        onward = kernel if weight is not None else kernel.transpose(1, 2)
        for t in range(len(current)):
            recurrent = arriving[t] if weight is None else arriving[t] @ weight.T
            if mask is not None:
                recurrent = recurrent * mask
            h = charge(v, current[t] + recurrent, lif)
            s = spike(h - lif.threshold, lif.surrogate)
            v = discharge(h, s, lif)
            _deliver(s, onward, arriving[t + 1 :])
            membrane[t], spikes[t] = h, s
        ctx.save_for_backward(
            weight, kernel, mask, membrane, spikes, None if weight is None else arriving
        )
        ctx.lif = lif
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, kernel, mask, membrane, spikes, filtered = ctx.saved_tensors
        lif = ctx.lif
        slope = surrogate_slope(membrane - lif.threshold, lif.surrogate, lif.alpha)
        carry = lif.leak * discharge_slope(membrane, spikes, slope, lif)  # dH[t+1]/dH[t]
        arriving = grad.clone(memory_format=torch.contiguous_format)  # dS
        current = torch.empty_like(membrane)  # dI = dH
        sent = torch.empty_like(membrane)  # dz (axonal) or dR (synaptic)
        later = torch.zeros_like(membrane[0])
        backward = kernel.flip(0)
        for t in reversed(range(len(membrane))):
            later = torch.addcmul(arriving[t] * slope[t], later, carry[t], out=current[t])
            recurrent = later if mask is None else later * mask
            sent[t] = recurrent if weight is None else recurrent @ weight
            ages = min(len(kernel), t)
            _deliver(sent[t], backward[len(kernel) - ages :], arriving[t - ages : t])
        grad_weight = grad_kernel = None
        if ctx.needs_input_grad[1]:
            recurrent = current if mask is None else current * mask
            grad_weight = recurrent.flatten(0, 1).T @ filtered.flatten(0, 1)
        if ctx.needs_input_grad[2]:
            grad_kernel = _correlate(sent, spikes, kernel)
        return current, grad_weight, grad_kernel, None, None


def _deliver(values: Tensor, kernel: Tensor, target: Tensor) -> None:
    """Add values (B, N), weighted by each row of the kernel, to the rows of target (.., B, N)."""
    target = target[: len(kernel)]
    kernel = kernel[: len(target)]
    if kernel.shape[1] == 1:
        target.addcmul_(kernel, values)
    else:
        target.baddbmm_(values.expand(len(kernel), *values.shape), kernel)


def _correlate(sent: Tensor, spikes: Tensor, kernel: Tensor) -> Tensor:
    """Gradient of the kernel: for each age k, the sum over t and b of sent[t + k] spikes[t]."""
    grad = torch.empty_like(kernel)
    for k in range(1, len(kernel) + 1):
        late, early = sent[k:], spikes[:-k]
        if kernel.shape[1] == 1:
            grad[k - 1, 0] = (late * early).sum((0, 1))
        else:
            grad[k - 1] = late.flatten(0, 1).T @ early.flatten(0, 1)
    return grad


def check_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None,
    finite: bool = True,
) -> None:
    """Refuse arguments of ``delayed_recurrence`` that cannot be right, for every engine alike.

    Args:
        current: (T, B, N).
        weight: (N, N).
        delay: (N,) or (N, N).
        half_width: scalar or (N,).
        mask: (B, N) or None.
        finite: whether to look for NaN and infinite values too, which reads one value from the
            device and so waits for it.

    Raises:
        ValueError: naming what was found and what was expected.
    """
    neurons = weight.shape[0]
    check_current(current, neurons)
    _check_like(current, "weight", weight, (neurons, neurons))
    _check_like(current, "delay", delay, (neurons,), (neurons, neurons))
    _check_like(current, "half_width", half_width, (), (neurons,))
    if mask is not None:
        _check_like(current, "mask", mask, tuple(current.shape[1:]))
    if not finite:
        return
    sums = torch.stack([tensor.detach().sum() for tensor in (weight, delay, half_width)])
    if not bool(sums.isfinite().all()):
        raise ValueError(
            "The recurrent weights, the delays or their half-widths contain NaN or infinite "
            "values: training has diverged. Go back to an earlier checkpoint and lower the "
            "learning rates."
        )


def _check_like(current: Tensor, name: str, tensor: Tensor, *shapes: tuple[int, ...]) -> None:
    if tuple(tensor.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}: expected {expected}.")
    if tensor.dtype != current.dtype:
        raise ValueError(
            f"{name} has the type {tensor.dtype} and the current {current.dtype}: convert one of "
            "them, for instance with layer.to(current.dtype)."
        )
