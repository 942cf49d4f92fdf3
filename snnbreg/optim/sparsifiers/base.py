"""What all sparsifiers share: the masks, and how they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snnbreg.optim.ranking import Budget


class Rewindable(Protocol):
    """A schedule of learning rates that can go back."""

    def rewind(self, epoch: int) -> None:
        """Go to the start of an epoch of the schedule, counted from 0."""


@dataclass(frozen=True)
class Course:
    """The training that a sparsifier takes part in.

    Attributes:
        network: all that is rewound when a method starts again.
        weights: the weight matrices by name: parameters of the network.
        optimizers: by name; ``weights`` has the weight matrices.
        epochs: of the whole run; ``trainer.extend`` adds some to them.
        steps_per_epoch: batches per epoch.
        seed: of everything random.
    """

    network: nn.Module
    weights: Mapping[str, Tensor]
    optimizers: Mapping[str, Optimizer]
    epochs: int
    steps_per_epoch: int
    seed: int = 0

    def step_at(self, option: str, share: float) -> int:
        """The step at a share of the run.

        Raises:
            ValueError: the share is not in [0, 1]; ``option`` names it.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"Invalid {option}: {share!r}. It is a share of the run, in [0, 1].")
        return round(share * self.epochs * self.steps_per_epoch)

    def beyond(self, epoch: int) -> int:
        """How many of the epochs up to this one, counted from 0, come after the run's own ones."""
        return max(0, epoch + 1 - self.epochs)


class Sparsifier:
    """Holds a mask for every weight matrix; what is masked stays zero, whatever the optimizer does.

    It is told of the training as a hook is: before the gradient is clipped the gradients of
    masked weights are set to zero (or they would decide how far the others are clipped), and after
    the step the weights and all that the optimizer remembers of them, so that momentum revives
    none. A subclass says when the masks change. What it draws is a function of the seed and the
    step, so that a stopped run continues as if it had not been.

    Args:
        course: the training.
        density: weights that are kept / all weights, at the end; in (0, 1].
        allocation: of the density over the matrices, see :class:`Budget`.

    Attributes:
        masks: bool by name of the weight matrix, True for what may be non-zero.
        step: optimizer steps so far.
        length: epochs of the schedules of learning rates and delay spread; the run's own but for
            methods that start again.
        schedules: what such a method rewinds.

    Raises:
        ValueError: a value out of range, or an optimizer that makes its own zeros.
    """

    bregman = False
    """Whether it works with optimizers that hold a dual variable of the weights."""

    def __init__(self, course: Course, density: float, allocation: str) -> None:
        self.course = course
        self.budget = Budget([w.shape for w in course.weights.values()], density, allocation)
        self.optimizer = course.optimizers["weights"]
        if hasattr(self.optimizer, "resync") and not self.bregman:
            raise ValueError(
                f"A sparsifier needs an optimizer such as adam, adamw or sgd. "
                f"{type(self.optimizer).__name__} makes its own zeros; only debias goes with it."
            )
        self.masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in course.weights.items()}
        self.step, self.length = 0, course.epochs
        self.schedules: Sequence[Rewindable] = ()

    # -- what the training tells -----------------------------------------------------------------

    def before_epoch(self, epoch: int) -> None:
        """An epoch, counted from 0, begins."""

    def after_backward(self) -> None:
        """The gradient is there, and not yet clipped."""
        self.mask_gradients()

    def after_step(self) -> None:
        """The optimizers have made a step."""
        self.step += 1
        self.apply()

    def after_epoch(self, epoch: int) -> None:
        """The last step of an epoch is done."""

    def follow(self, schedules: Sequence[Rewindable]) -> None:
        """Take the schedules over, which span ``length`` epochs.

        Raises:
            ValueError: one cannot be rewound as the method needs.
        """
        self.schedules = schedules

    def place(self, epoch: int) -> int:
        """The epoch of the schedules in an epoch of the run, both counted from 0.

        In an epoch after the run's own ones it lies as far behind the schedules' end.
        """
        return epoch

    # -- the masks -------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Tensor]:
        """The weight matrices in order."""
        return list(self.course.weights.values())

    def magnitudes(self) -> list[Tensor]:
        """|w|, and -1 for what is masked: it is the first to go."""
        pairs = zip(self.weights, self.masks.values(), strict=True)
        return [torch.where(mask, w.detach().abs(), -1.0) for w, mask in pairs]

    def prune(self, counts: Sequence[int]) -> None:
        """Keep the largest magnitudes, as many as ``counts`` says (see :class:`Budget`)."""
        self.set_masks(self.budget.select(self.magnitudes(), counts))

    def set_masks(self, masks: Sequence[Tensor]) -> None:
        """Write new masks, and zeros where they are False."""
        for own, mask in zip(self.masks.values(), masks, strict=True):
            own.copy_(mask)
        self.apply()

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradients of masked weights to zero."""
        for weight, mask in zip(self.weights, self.masks.values(), strict=True):
            if weight.grad is not None:
                weight.grad.mul_(mask)

    @torch.no_grad()
    def apply(self) -> None:
        """Set masked weights, and what the optimizer remembers of them, to zero."""
        for weight, mask in zip(self.weights, self.masks.values(), strict=True):
            weight.mul_(mask)
            for moment in moments(self.optimizer, weight):
                moment.mul_(mask)

    def generator(self, stream: int = 0) -> torch.Generator:
        """Numbers that depend on the seed, the step and the stream alone; on the CPU.

        The same numbers for a mask and for noise would make the noise of what is kept biased.
        """
        number = (self.course.seed * 1_000_003 + self.step) * 8 + stream
        return torch.Generator().manual_seed(number % 2**63)

    def columns(self) -> dict[str, float]:
        """``kept``, the number of weights that may be non-zero; a new one is zero until a step."""
        return {"kept": sum(int(mask.sum()) for mask in self.masks.values())}

    # -- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The masks and the number of steps."""
        return {"step": self.step, "masks": dict(self.masks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            ValueError: it has masks of other matrices.
        """
        if {n: m.shape for n, m in state.get("masks", {}).items()} != {
            n: m.shape for n, m in self.masks.items()
        }:
            raise ValueError(f"The checkpoint has no masks of {', '.join(self.masks)}.")
        self.step = state["step"]
        for name, mask in self.masks.items():
            mask.copy_(state["masks"][name])


class RandomStart(Sparsifier):
    """A sparsifier that starts with random masks of the final density.

    Of a sparse start zeros are the last to be kept.

    Args:
        course: the training.
        density: kept weights / all weights, from the start to the end.
        allocation: ``"erk"`` or ``"layer"``.
        rescale: multiply what is kept by ``1 / sqrt(density)`` of its matrix, so that the variance
            of the initial matrix stays, as ``optim.init_density`` does; published codes do not.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(self, course: Course, density: float, allocation: str, rescale: bool) -> None:
        super().__init__(course, density, allocation)
        if allocation == "global":
            raise ValueError("Invalid allocation: 'global'. Random masks are drawn per layer.")
        generator = self.generator(1)
        scores = [torch.rand(w.shape, generator=generator).to(w.device) for w in self.weights]
        scores = [s - (w.detach() == 0).to(s) for s, w in zip(scores, self.weights, strict=True)]
        self.set_masks(self.budget.select(scores, self.budget.final))
        for weight, kept in zip(self.weights, self.budget.final, strict=True):
            if rescale and kept:
                weight.detach().div_((kept / weight.numel()) ** 0.5)


def moments(optimizer: Optimizer, param: Tensor) -> list[Tensor]:
    """What an optimizer remembers of every entry of a parameter, such as Adam's two moments."""
    return [
        entry
        for key, entry in optimizer.state.get(param, {}).items()
        if isinstance(entry, Tensor) and entry.shape == param.shape and key != "dual"
    ]


def resync(optimizer: Any, params: Iterable[Tensor]) -> None:
    """Tell an optimizer that holds dual variables that parameters were written from outside."""
    if hasattr(optimizer, "resync"):
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        optimizer.resync([param for param in params if id(param) in own])


def learning_rates(optimizer: Optimizer) -> dict[Tensor, float]:
    """The learning rate of every parameter, as it stands."""
    groups = optimizer.param_groups
    return {param: float(group["lr"]) for group in groups for param in group["params"]}


def check_steps(option: str, value: int) -> None:
    """Refuse a period below one step.

    Raises:
        ValueError: names the option.
    """
    if value < 1:
        raise ValueError(f"Invalid {option}: {value!r}. It is a number of steps, at least 1.")


def check_share(option: str, value: float) -> None:
    """Refuse a share outside (0, 1).

    Raises:
        ValueError: names the option.
    """
    if not 0 < value < 1:
        raise ValueError(f"Invalid {option}: {value!r}. It must be in (0, 1).")
