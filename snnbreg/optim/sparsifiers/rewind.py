"""Pruning and training again: one-shot magnitude pruning, and iterative with rewinding.

Papers: Comparing Rewinding and Fine-tuning in Neural Network Pruning (Renda, Frankle, Carbin
2020), https://arxiv.org/abs/2003.02389; The Lottery Ticket Hypothesis (Frankle, Carbin 2019),
https://arxiv.org/abs/1803.03635
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from snnbreg.optim.sparsifiers.base import Course, Rewindable, Sparsifier, check_share


class _StartsAgain(Sparsifier):
    """Prunes between two epochs, and starts the optimizers and schedules again.

    ``place`` says where the schedules are in every epoch; where it is not one further than in the
    epoch before, they are rewound.
    """

    def before_epoch(self, epoch: int) -> None:
        """Prune and start again where it is time to."""
        if self.pruning(epoch):
            self.start_again(epoch)
            for optimizer in self.course.optimizers.values():
                optimizer.state.clear()  # no moments, step 0
        self._rewind(epoch)

    def follow(self, schedules: Sequence[Rewindable]) -> None:
        """See the base class; every rewinding is tried, so that a run does not fail half way."""
        super().follow(schedules)
        for epoch in range(1, self.course.epochs):
            self._rewind(epoch)
        for schedule in schedules:
            schedule.rewind(0)

    def _rewind(self, epoch: int) -> None:
        if epoch and self.place(epoch) != self.place(epoch - 1) + 1:
            for schedule in self.schedules:
                schedule.rewind(self.place(epoch))

    def pruning(self, epoch: int) -> bool:
        """Whether weights are pruned before this epoch."""
        raise NotImplementedError

    def start_again(self, epoch: int) -> None:
        """Prune, and change the weights where the method does."""
        raise NotImplementedError


class Magnitude(_StartsAgain):
    """Trains a dense network, prunes it once and trains what is left, all within the run's epochs.

    The schedule of the learning rates spans the dense epochs. The weights stay as they are where
    they are kept; the optimizers start again.

    Args:
        course: the training.
        density: kept weights / all weights.
        allocation: ``global`` (one ranking of all weights), ``layer`` or ``erk``.
        retrain: share of the run's epochs after pruning.
        method: ``learning_rate`` repeats the last so many epochs of the schedule (learning-rate
            rewinding), ``fine_tune`` the last epoch of it again and again.

    Raises:
        ValueError: a value out of range, or there is one epoch alone.
    """

    def __init__(
        self,
        course: Course,
        density: float = 0.1,
        allocation: str = "global",
        retrain: float = 0.5,
        method: str = "learning_rate",
    ) -> None:
        super().__init__(course, density, allocation)
        check_share("retrain", retrain)
        if method not in ("learning_rate", "fine_tune"):
            raise ValueError(
                f"Invalid method: {method!r}. Valid methods are learning_rate, fine_tune."
            )
        if course.epochs < 2:
            raise ValueError("One-shot pruning needs two epochs, one of them after it.")
        again = min(max(1, round(retrain * course.epochs)), course.epochs - 1)
        self.method, self.length = method, course.epochs - again
        if method == "learning_rate" and again > self.length:
            raise ValueError(
                f"Invalid retrain: {retrain!r}. The schedule's {self.length} epochs cannot be "
                f"rewound by {again}; retrain is at most 0.5, or method fine_tune."
            )

    def place(self, epoch: int) -> int:
        """See the base class."""
        if epoch < self.length:
            return epoch
        again = self.course.epochs - self.length
        if self.method == "learning_rate":
            return epoch - again
        return self.length - 1 + self.course.beyond(epoch)

    def pruning(self, epoch: int) -> bool:
        """After the dense epochs."""
        return epoch == self.length

    def start_again(self, epoch: int) -> None:
        """Prune to the density."""
        self.prune(self.budget.final)


class Iterative(_StartsAgain):
    """Iterative magnitude pruning with rewinding: looks for a lottery ticket.

    Trains, prunes a share of the weights that are left, sets all else that is learned (kept
    weights, biases, delays, spreads) back to what it was at the start of epoch ``rewind``, and
    trains again, ``rounds`` times. All of it takes the run's epochs: the schedules span those of
    the first training; the others are shorter by ``rewind``. Epochs that are left over repeat the
    last one of the schedule.

    Args:
        course: the training.
        density: kept weights / all weights, in the last training.
        allocation: ``layer`` (published), ``erk`` or ``global``.
        rounds: how often weights are pruned; the share ``1 - density ** (1 / rounds)`` each time.
        rewind: epoch, from 0, at whose start the values are that all is set back to.

    Raises:
        ValueError: a value out of range, or too few epochs.
    """

    def __init__(
        self,
        course: Course,
        density: float = 0.1,
        allocation: str = "layer",
        rounds: int = 4,
        rewind: int = 0,
    ) -> None:
        super().__init__(course, density, allocation)
        if rounds < 1:
            raise ValueError(f"Invalid rounds: {rounds!r}. It must be at least 1.")
        self.rounds, self.first = rounds, rewind
        self.length = (course.epochs + rounds * rewind) // (rounds + 1)
        if not 0 <= rewind < self.length:
            raise ValueError(
                f"Invalid rewind: {rewind!r}. {rounds + 1} trainings within {course.epochs} epochs "
                f"are {self.length} epochs long; rewind must be at least 0 and below that."
            )
        self.rewound: dict[str, Tensor] = {}

    def round(self, epoch: int) -> int:
        """How often weights have been pruned when an epoch begins."""
        again = self.length - self.first
        return min(self.rounds, max(0, epoch - self.first) // again)

    def place(self, epoch: int) -> int:
        """See the base class."""
        within = epoch - self.round(epoch) * (self.length - self.first)
        return min(within, self.length - 1) + self.course.beyond(epoch)

    def before_epoch(self, epoch: int) -> None:
        """Remember all values where it is time to."""
        if epoch == self.first:
            state = self.course.network.state_dict()
            self.rewound = {name: value.detach().clone() for name, value in state.items()}
        super().before_epoch(epoch)

    def pruning(self, epoch: int) -> bool:
        """Before the first epoch of every training but the first."""
        return epoch > 0 and self.round(epoch) > self.round(epoch - 1)

    def start_again(self, epoch: int) -> None:
        """Prune by the weights as trained, then set them back."""
        share = self.round(epoch) / self.rounds
        pairs = zip(self.budget.sizes, self.budget.final, strict=True)
        self.prune([round(size * (final / size) ** share) for size, final in pairs])
        self.course.network.load_state_dict(self.rewound)
        self.apply()

    def state_dict(self) -> dict[str, Any]:
        """The masks, and what is rewound to."""
        return {**super().state_dict(), "rewound": self.rewound}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        super().load_state_dict(state)
        own = self.course.network.state_dict()
        self.rewound = {n: v.to(own[n].device) for n, v in state["rewound"].items()}
