"""The delay kernel: a triangle over the age of a spike.

A spike of sender j that is k steps old acts on its receivers with the weight

    h_j(k) = max(0, s_j - |k - (1 + d_j)|) / s_j^2,   k = 1, 2, ...

d_j is the delay in steps (d = 0 is the ordinary recurrence of one step), s_j >= 1 the half-width
in steps. At s = 1 and an integer delay the kernel is exactly 1 at k = 1 + d and 0 elsewhere.
A spike never acts in its own step (k = 0), so a wide triangle near d = 0 is truncated: at s = 11
the sum of its weights is 0.545 at d = 0, 0.77 at d = 3, and 1 from d = 10 on.

Reference: Queant et al. 2025, "DelRec", arXiv 2509.24852, section 3, and its public code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def half_width(sigma: float | Tensor, spread: Tensor | None = None) -> Tensor:
    """Half-width s of the kernel from the annealed sigma and the learned spread p.

    s = 1 + sigma without a learned spread, s_j = 1 + 2 sigma sigmoid(p_j) with one, which is
    1 + sigma at p = 0.

    Args:
        sigma: in steps, >= 0, the same for all neurons; decreases during training.
        spread: p, (N,), no unit; None if the spread is not learned.

    Returns:
        s in steps, a scalar tensor or (N,).

    Example:
        >>> half_width(4.0), half_width(4.0, torch.zeros(2))
        (tensor(5.), tensor([5., 5.]))
    """
    if spread is None:
        return 1.0 + torch.as_tensor(sigma)
    return 1.0 + 2.0 * sigma * torch.sigmoid(spread)


def delay_kernel(delay: Tensor, half_width: Tensor, length: int) -> Tensor:
    """The weights h(k) of a spike of age k = 1 .. ``length`` steps.

    Differentiable in both tensors. At an age exactly at the peak or at an end of the triangle the
    gradient of the delay is 0; at an end the gradient of the half-width is 0 too.

    Args:
        delay: d in steps, (N,) per sender or (N, N) per receiver and sender.
        half_width: s in steps, a scalar tensor or (N,) per sender.
        length: number of ages K, see ``kernel_length``.

    Returns:
        (K, N) or (K, N, N); entry k - 1 belongs to the age of k steps.

    Example:
        >>> delay_kernel(torch.tensor([1.0]), torch.tensor(2.0), 5).flatten()
        tensor([0.2500, 0.5000, 0.2500, 0.0000, 0.0000])
    """
    ages = torch.arange(1, length + 1, dtype=delay.dtype, device=delay.device)
    ages = ages.reshape(-1, *[1] * delay.ndim)
    return torch.relu(half_width - (ages - 1.0 - delay).abs()) / half_width.square()


def kernel_length(delay: Tensor, half_width: Tensor, steps: int) -> int:
    """Number K of ages that a kernel needs: h(k) = 0 for k >= 1 + d + s.

    Copies the largest d + s from the device to the CPU, and so waits for the device. Where values
    cannot be looked at (see ``readable``) K is T - 1, and the kernel ends with zeros.

    Args:
        delay: d in steps, (N,) or (N, N).
        half_width: s in steps, a scalar tensor or (N,).
        steps: T, number of time steps; the oldest spike has the age T - 1.

    Returns:
        K, between 0 and T - 1.

    Example:
        >>> kernel_length(torch.tensor([2.0, 7.5]), torch.tensor(3.0), steps=100)
        11
    """
    if not readable():
        return steps - 1
    reach = float((delay.detach() + half_width.detach()).max())
    return min(max(math.floor(reach) + 1, 1), steps - 1)


def readable() -> bool:
    """Whether Python may look at the numbers in a tensor.

    Not while ``torch.compile``, ``torch.export`` or ``torch.jit.trace`` write a graph for any
    numbers, nor inside ``torch.func``, where a tensor may stand for many.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )


def check_like(
    like: Tensor, what: str, name: str, tensor: Tensor, *shapes: tuple[int, ...]
) -> None:
    """Refuse an argument of delayed synapses of another shape or type.

    Args:
        like: the tensor whose type is expected.
        what: name of ``like``, for the message.
        name: name of the argument.
        tensor: the argument.
        *shapes: those it may have.

    Raises:
        ValueError: the message names what was found and expected.
    """
    if tuple(tensor.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}: expected {expected}.")
    if tensor.dtype != like.dtype:
        raise ValueError(
            f"{name} has the type {tensor.dtype} and the {what} {like.dtype}: convert one of "
            f"them, for instance with layer.to({what}.dtype)."
        )


def check_finite(names: str, *tensors: Tensor) -> None:
    """Refuse weights, delays and half-widths that are not finite; waits for the device.

    Where values cannot be looked at (see ``readable``) nothing is refused.

    Raises:
        ValueError: ``names`` says in words which tensors they are.
    """
    if not readable():
        return
    sums = torch.stack([tensor.detach().sum() for tensor in tensors])
    if not bool(sums.isfinite().all()):
        raise ValueError(
            f"The {names} contain NaN or infinite values: training has diverged. Go back to an "
            "earlier checkpoint and lower the learning rates."
        )
