"""The recurrent layer written with autograd over the loop: slow, and simple to check."""

from __future__ import annotations

import torch
from torch import Tensor

from snnbreg.functional import delay_kernel, lif_step


def published_buffer(
    current: Tensor, weight: Tensor, delay: Tensor, half_width: Tensor, length: int
) -> Tensor:
    """Spikes (T, B, N) by the published algorithm: a buffer of future currents, W times each age.

    Args:
        current: (T, B, N).
        weight: W, (N, N).
        delay: d in steps, (N,).
        half_width: s in steps, (N,).
        length: number of ages in the buffer, from k = 0.
    """
    ages = torch.arange(length, dtype=delay.dtype, device=delay.device)
    distance = (ages - 1 - delay[:, None]).abs()
    kernel = torch.relu(half_width[:, None] - distance) / half_width[:, None] ** 2
    buffer = current.new_zeros(*current.shape[1:], length)
    v = torch.zeros_like(current[0])
    steps = []
    for current_t in current.unbind():
        spikes, v = lif_step(current_t + buffer[:, :, 0], v)
        future = weight @ (spikes[:, :, None] * kernel)
        rest = torch.nn.functional.pad(buffer[:, :, 1:], (0, 1))
        buffer = rest + torch.nn.functional.pad(future[:, :, 1:], (0, 1))
        steps.append(spikes)
    return torch.stack(steps)


def window_of_spikes(
    current: Tensor, weight: Tensor, delay: Tensor, half_width: Tensor, length: int
) -> Tensor:
    """Spikes (T, B, N): the delayed spikes z from a window of the last spikes, then W z.

    The arguments are those of ``published_buffer``; ``length`` ages, from k = 1.
    """
    kernel = delay_kernel(delay, half_width, length).flip(0).unsqueeze(1)
    window = current.new_zeros(length, *current.shape[1:])
    v = torch.zeros_like(current[0])
    steps = []
    for current_t in current.unbind():
        spikes, v = lif_step(current_t + (kernel * window).sum(0) @ weight.T, v)
        window = torch.cat([window[1:], spikes[None]])
        steps.append(spikes)
    return torch.stack(steps)
