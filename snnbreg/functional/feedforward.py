"""Feed-forward synapses with delays, over time: the readable form that fast engines must equal.

Legend: T time steps, B batch, C senders, N receivers, K ages (delay kernel h, k = 0 .. K - 1).

    h_j(k) = max(0, s_j - |k - d_j|) / s_j^2          the recurrent kernel, one step earlier
    z_j[t] = sum_k h_j(k) X_j[t-k]                    the senders' events X, filtered
    I_i[t] = b_i + sum_j W_ij z_j[t]                  delays per sender (axonal)
    I_i[t] = b_i + sum_j W_ij sum_k h_ij(k) X_j[t-k]  delays per synapse

The receivers are not the senders, so that an event may act in its own step: d = 0 at s = 1 is an
ordinary linear layer. The part of a kernel before k = 0 is lost.

Axonal delays cost N C + C K products per step and sample, delays per synapse N C K: then the
kernels, times the weights, are one convolution in time with dense filters, most of whose entries
are zero.

Reference: Hammouamri et al. 2024, "Learning delays in spiking neural networks using dilated
convolutions with learnable spacings", ICLR, for delays per synapse; the kernel is that of
Queant et al. 2025, "DelRec", arXiv 2509.24852, whose networks "rec+ff" join both.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional
from torch.nn.functional import conv1d, pad

from .delay import check_finite, check_like, delay_kernel, kernel_length
from .lif import check_current

FEED_FORWARD = "feed-forward weights, their delays or half-widths"
"""What ``check_finite`` says of them."""


def linear(
    events: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None = None
) -> Tensor:
    """Currents of synapses without delays, (X W' + b) mask, in every step.

    Args:
        events: X, frames or spikes of the senders, (T, B, C).
        weight: W, (N, C), row = receiver, column = sender.
        bias: b, (N,), or None.
        mask: factors on the currents (dropout), held over time, (B, N), or None.

    Returns:
        Currents I, (T, B, N).

    Raises:
        ValueError: for shapes that do not fit together.

    Example:
        >>> import torch
        >>> linear(torch.eye(3)[:, None], torch.ones(1, 3), torch.tensor([0.5])).flatten()
        tensor([1.5000, 1.5000, 1.5000])
    """
    check_linear(events, weight, bias, mask)
    current = functional.linear(events, weight, bias)
    return current if mask is None else current * mask


def delayed_linear(
    events: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    delay: Tensor,
    half_width: Tensor,
) -> Tensor:
    """Currents of synapses whose events arrive late.

    Differentiable in every tensor.

    Args:
        events: X, frames or spikes of the senders, (T, B, C).
        weight: W, (N, C), row = receiver, column = sender.
        bias: b, (N,), or None.
        delay: d in steps, (C,) per sender (axonal) or (N, C) as ``weight`` (synaptic).
        half_width: s >= 1 in steps, a scalar tensor or (C,) per sender.

    Returns:
        Currents I, (T, B, N).

    Raises:
        ValueError: for shapes or types that do not fit together, and for values that are not
            finite in ``delay``, ``half_width`` or ``weight``.

    Example:
        An event in the first step arrives two steps later; a wider kernel spreads it.

        >>> import torch
        >>> events = torch.zeros(5, 1, 1)
        >>> events[0] = 1.0
        >>> weight, delay = torch.ones(1, 1), torch.tensor([2.0])
        >>> delayed_linear(events, weight, None, delay, torch.tensor(1.0)).flatten()
        tensor([0., 0., 1., 0., 0.])
        >>> delayed_linear(events, weight, None, delay, torch.tensor(2.0)).flatten()
        tensor([0.0000, 0.2500, 0.5000, 0.2500, 0.0000])
    """
    check_delayed_linear(events, weight, bias, delay, half_width)
    kernel = feedforward_kernel(delay, half_width, len(events))
    if delay.ndim == 1:
        return functional.linear(filter_events(events, kernel), weight, bias)
    return _convolve(events, weight * kernel, bias)


def feedforward_kernel(delay: Tensor, half_width: Tensor, steps: int) -> Tensor:
    """The weights h(k) of an event by its age, k = 0 .. K - 1, of which none beyond is needed.

    Args:
        delay: d in steps, (C,) or (N, C).
        half_width: s in steps, a scalar tensor or (C,).
        steps: T; no age above T - 1 can occur.

    Returns:
        (K, C) or (K, N, C); entry k belongs to the age of k steps.

    Example:
        >>> import torch
        >>> feedforward_kernel(torch.tensor([1.0]), torch.tensor(2.0), steps=9).flatten()
        tensor([0.2500, 0.5000, 0.2500, 0.0000])
    """
    return delay_kernel(delay, half_width, kernel_length(delay, half_width, steps + 1))


def filter_events(events: Tensor, kernel: Tensor) -> Tensor:
    """Filter the history of each sender: z_j[t] = sum_k h_j(k) X_j[t-k].

    Args:
        events: X, (T, B, C).
        kernel: h, (K, C).

    Returns:
        z, (T, B, C).

    Example:
        >>> import torch
        >>> events = torch.tensor([1.0, 0.0, 2.0]).reshape(3, 1, 1)
        >>> filter_events(events, torch.ones(2, 1)).flatten()
        tensor([1., 1., 2.])
    """
    return _convolve(events, kernel.unsqueeze(2), None, groups=kernel.shape[1])


def _convolve(events: Tensor, kernel: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
    """A convolution in time with a kernel (K, N, C / groups); each step sees the past alone."""
    past = pad(events.permute(1, 2, 0), (len(kernel) - 1, 0))
    return conv1d(past, kernel.flip(0).permute(1, 2, 0), bias, groups=groups).permute(2, 0, 1)


def check_linear(events: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> None:
    """Refuse arguments of ``linear`` that cannot be right, for every engine alike.

    Args:
        events: (T, B, C).
        weight: (N, C).
        bias: (N,) or None.
        mask: (B, N) or None.

    Raises:
        ValueError: naming what was found and what was expected.
    """
    receivers, senders = weight.shape
    check_current(events, senders, "events")
    for name, tensor, expected in (
        ("bias", bias, (receivers,)),
        ("mask", mask, (events.shape[1], receivers)),
    ):
        if tensor is not None and tuple(tensor.shape) != expected:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}: expected {expected}.")


def check_delayed_linear(
    events: Tensor, weight: Tensor, bias: Tensor | None, delay: Tensor, half_width: Tensor
) -> None:
    """Refuse arguments of ``delayed_linear`` that cannot be right, for every engine alike.

    Args:
        events: (T, B, C).
        weight: (N, C).
        bias: (N,) or None.
        delay: (C,) or (N, C).
        half_width: scalar or (C,).

    Raises:
        ValueError: naming what was found and what was expected.
    """
    receivers, senders = weight.shape
    check_current(events, senders, "events")
    if bias is not None:
        check_like(events, "events", "bias", bias, (receivers,))
    check_like(events, "events", "delay", delay, (senders,), (receivers, senders))
    check_like(events, "events", "half_width", half_width, (), (senders,))
    check_like(events, "events", "weight", weight, (receivers, senders))
    check_finite(FEED_FORWARD, weight, delay, half_width)
