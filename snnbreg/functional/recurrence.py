"""A recurrent LIF layer with delays over time: the reference with which engines are compared.

Legend: T time steps, B batch, N neurons, K ages (delay kernel h, k = 1 .. K).

    z_j[t] = sum_k h_j(k) S_j[t-k]           delayed spikes of sender j
    R[t]   = W z[t]                          recurrent current; W: row = receiver
    S[t]   = LIF(I[t] + M R[t])              M: dropout mask, one per sample, the same for all t

This costs N^2 + N K products per step and sample. The published code multiplies W with every age
of its buffer, N^2 K products, with the same result. With one delay per synapse there is no z:
R_i[t] = sum_k sum_j (W_ij h_ij(k)) S_j[t-k], with one matrix per age k.

In both cases the spikes of step t are added, with the weights h(k), to the steps t+1 .. t+K of one
buffer (T, B, N). The backward pass goes from the last step to the first and adds the gradient of
step t to the steps t-K .. t-1. No tensor has both a K and a T axis.

Reference: Queant et al. 2025, "DelRec", arXiv 2509.24852, section 3, and its public code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .carried import Carried, pack, unpack
from .delay import check_finite, check_like, delay_kernel, kernel_length
from .lif import DEFAULTS, LIFParameters, charge, check_current, reset_membrane, reset_slope
from .surrogates import spike, surrogate_slope


def delayed_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    neuron: LIFParameters = DEFAULTS,
) -> Tensor:
    """Spikes of a recurrent LIF layer whose recurrent connections have delays.

    Differentiable once in ``current``, ``weight``, ``delay`` and ``half_width``.

    Args:
        current: feed-forward input I, (T, B, N).
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,) per sender (axonal) or (N, N) as ``weight`` (synaptic); d = 0 is
            the usual recurrence from one step to the next. h(k) at k < 1 has no effect.
        half_width: s >= 1 in steps, a scalar tensor or (N,) per sender.
        mask: factors on the recurrent current (dropout), (B, N), the same for all t, or None.
        neuron: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Raises:
        ValueError: for shapes or types that do not fit together, and for values that are not
            finite in ``delay``, ``half_width`` or ``weight``.

    Example:
        One neuron excites itself with a delay of 2: its spike acts on it 3 steps later.

        >>> current = torch.zeros(8, 1, 1)
        >>> current[0] = 1.0
        >>> spikes = delayed_recurrence(
        ...     current, torch.ones(1, 1), torch.tensor([2.0]), torch.tensor(1.0)
        ... )
        >>> spikes.flatten()
        tensor([1., 0., 0., 1., 0., 0., 1., 0.])
    """
    return continued_recurrence(current, None, weight, delay, half_width, mask, neuron)[0]


RECURRENT = "recurrent weights, the delays or their half-widths"
"""What ``check_finite`` says of them."""


def continued_recurrence(
    current: Tensor,
    carried: Carried | None,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    neuron: LIFParameters = DEFAULTS,
    keep: int = 0,
) -> tuple[Tensor, Carried]:
    """A segment of time of :func:`delayed_recurrence`.

    Args:
        current: input of the segment, (T, B, N).
        carried: what this function returned for the segment before; None at the beginning.
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,) or (N, N).
        half_width: s >= 1 in steps, a scalar tensor or (N,).
        mask: factors on the recurrent current, (B, N), or None.
        neuron: the neurons' parameters.
        keep: of how many steps spikes are handed on, see ``kernel_length``.

    Returns:
        Spikes, (T, B, N), and what the next segment takes.
    """
    check_recurrence(current, weight, delay, half_width, mask)
    if carried is None:
        v, past = torch.zeros_like(current[0]), current.new_empty(0, *current.shape[1:])
    else:
        v, past = carried.membrane, unpack(carried.spikes, carried.link)
    steps = len(current) + len(past)
    kernel = delay_kernel(delay, half_width, kernel_length(delay, half_width, steps))
    synapses = (None, weight * kernel) if delay.ndim == 2 else (weight, kernel.unsqueeze(1))
    spikes, v = _Recurrence.apply(current, v, past, *synapses, mask, neuron)
    sent = torch.cat([past, spikes]) if keep > len(spikes) else spikes
    return spikes, Carried(v, *pack(sent[max(len(sent) - keep, 0) :]))


class _Recurrence(torch.autograd.Function):
    """The loop over time and its backward pass, for which three (T, B, N) tensors are saved.

    ``kernel`` is h, (K, 1, N), with axonal delays; with synaptic delays it is W h, (K, N, N) =
    (age, receiver, sender), and ``weight`` is None. ``v`` and ``past``, (P, B, N), are membranes
    and spikes of the steps before; the second result are the membranes after the last step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        v: Tensor,
        past: Tensor,
        weight: Tensor | None,
        kernel: Tensor,
        mask: Tensor | None,
        neuron: LIFParameters,
    ) -> tuple[Tensor, Tensor]:
        delayed = current.new_zeros(current.shape)  # z (axonal) or R (synaptic)
        membrane = current.new_empty(current.shape)  # H
        spikes = current.new_empty(current.shape)  # S
        to_receivers = kernel if weight is not None else kernel.transpose(1, 2)
        for age, s in zip(range(len(past), 0, -1), past, strict=True):  # in the first step
            _add_weighted(s, to_receivers[age - 1 :], delayed)
        for t in range(len(current)):
            recurrent = delayed[t] if weight is None else delayed[t] @ weight.T
            if mask is not None:
                recurrent = recurrent * mask
            h = charge(v, current[t] + recurrent, neuron)
            s = spike(h - neuron.threshold, neuron.surrogate)
            v = reset_membrane(h, s, neuron)
            _add_weighted(s, to_receivers, delayed[t + 1 :])
            membrane[t], spikes[t] = h, s
        z = None if weight is None else delayed
        ctx.save_for_backward(weight, kernel, mask, membrane, spikes, z, past)
        ctx.neuron = neuron
        return spikes, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_v: Tensor) -> tuple[Tensor | None, ...]:
        weight, kernel, mask, membrane, spikes, z, past = ctx.saved_tensors
        neuron, before = ctx.neuron, len(past)
        slope = surrogate_slope(membrane - neuron.threshold, neuron.surrogate, neuron.alpha)
        v_slope = reset_slope(membrane, spikes, slope, neuron)  # dV[t]/dH[t]
        next_slope = neuron.leak * v_slope  # dH[t+1]/dH[t]
        next_slope[-1] = v_slope[-1]
        grad_spikes = torch.cat([torch.zeros_like(past), grad])  # dS, of the past too
        grad_current = torch.empty_like(membrane)  # dI = dH
        grad_delayed = torch.empty_like(membrane)  # dz (axonal) or dR (synaptic)
        grad_h = grad_v
        oldest_first = kernel.flip(0)
        for t in reversed(range(len(membrane))):
            grad_h = torch.addcmul(
                grad_spikes[before + t] * slope[t], grad_h, next_slope[t], out=grad_current[t]
            )
            grad_recurrent = grad_h if mask is None else grad_h * mask
            grad_delayed[t] = grad_recurrent if weight is None else grad_recurrent @ weight
            ages = min(len(kernel), before + t)
            to_senders = oldest_first[len(kernel) - ages :]
            _add_weighted(grad_delayed[t], to_senders, grad_spikes[before + t - ages : before + t])
        grad_weight = grad_kernel = None
        if ctx.needs_input_grad[3]:
            grad_recurrent = grad_current if mask is None else grad_current * mask
            grad_weight = grad_recurrent.flatten(0, 1).T @ z.flatten(0, 1)
        if ctx.needs_input_grad[4]:
            sent = torch.cat([past, spikes]) if before else spikes
            grad_kernel = _kernel_gradient(grad_delayed, sent, kernel)
        by_v, by_past = neuron.leak * grad_h, grad_spikes[:before]
        return grad_current, by_v, by_past, grad_weight, grad_kernel, None, None


def _add_weighted(values: Tensor, kernel: Tensor, target: Tensor) -> None:
    """Add the values (B, N), weighted by kernel[k], to target[k], (B, N), for all k of both.

    kernel[k] is one weight per neuron, (1, N), or a matrix (N, N), (from, to).
    """
    target = target[: len(kernel)]
    kernel = kernel[: len(target)]
    if kernel.shape[1] == 1:
        target.addcmul_(kernel, values)
    else:
        target.baddbmm_(values.expand(len(kernel), *values.shape), kernel)


def _kernel_gradient(grad_delayed: Tensor, spikes: Tensor, kernel: Tensor) -> Tensor:
    """For each age k, the sum over t and b of grad_delayed[t + k] spikes[t].

    The spikes may begin earlier than the gradients, and end with them.
    """
    grad, before = torch.empty_like(kernel), len(spikes) - len(grad_delayed)
    for k in range(1, len(kernel) + 1):
        late, early = grad_delayed[max(k - before, 0) :], spikes[max(before - k, 0) : -k]
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
    """Check the arguments of ``delayed_recurrence``; every engine calls this.

    Args:
        current: (T, B, N).
        weight: (N, N).
        delay: (N,) or (N, N).
        half_width: scalar or (N,).
        mask: (B, N) or None.
        finite: whether to look for NaN and infinite values too, which waits for the device.

    Raises:
        ValueError: for shapes or types that do not fit together and for NaN or infinite values;
            the message names what was found and expected.
    """
    neurons = weight.shape[0]
    check_current(current, neurons)
    check_like(current, "current", "weight", weight, (neurons, neurons))
    check_like(current, "current", "delay", delay, (neurons,), (neurons, neurons))
    check_like(current, "current", "half_width", half_width, (), (neurons,))
    if mask is not None:
        check_like(current, "current", "mask", mask, tuple(current.shape[1:]))
    if finite:
        check_finite(RECURRENT, weight, delay, half_width)
