"""A controller that steers lambda to a target density."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim import Optimizer

from snnbreg.schedulers.schedule import Scheduler

KEEPS = ("dual", "weights")
HALVINGS = 40
"""Of the interval in which lambda is sought: enough for the last single weight."""
SPARE = 1.05
"""Proximal methods are steered to a little more than is wanted, since one can take but not give."""


class DensityController(Scheduler):
    """Raises lambda while there are too many non-zero weights, lowers it while there are too few.

    It acts after every epoch between warm-up and cool-down, or ``times`` in each, on the density d
    with target d*, and in one of two ways:

    * ``keep="dual"``: lambda becomes the value at which the dual variable v, as it is, stands for
      the density that is wanted now: ``d* (d_0 / d*) ** exp(-pace x)``, where d_0 is the density
      when the controller starts and x in (0, 1] how far it is. Weights shrink and some vanish, or
      appear, at once. This reaches the target from a dense start and from a sparse one.
    * ``keep="weights"``: ``lam <- lam * clamp((d / d*) ** gain, 1 / step, step)``. Weights and
      their subgradients p stay as they are, so that what changes is how hard it is to come back
      from zero. This holds back a growing network; it cannot make a dense one sparse, since
      non-zero weights do not feel lambda.

    From cool-down on the target itself is wanted: every time, at the very end too, lambda
    becomes the value at which v stands for exactly that density. The learning rate being small
    then, so are these changes. A group regulariser meets it to one group.

    ProxSGD and ProxAdam hold no v; to them lambda is a price, by which the density is found only
    after a while. The second way applies, with the density wanted at the time and 5 % to spare,
    while the density is on its way there to the one that the next epoch will have if it changes by
    the same factor again: weights shrink for epochs before they vanish, together, and what has
    vanished returns slowly, behind silent neurons never. So a falling density limits the price
    too: without gradients as many weights would outlast the next epoch as are wanted, and below
    that the price falls by ``step``. From cool-down on the smallest weights beyond the target are
    set to zero after every epoch.

    Args:
        optimizer: a Bregman or proximal optimizer; its groups with a regulariser share one
            density and keep the proportions of their lambdas.
        epochs: number of epochs of the run.
        steps_per_epoch: batches per epoch.
        density: the target, non-zero weights / weights of these groups, in (0, 1].
        keep: what stays when lambda changes, ``"dual"`` or ``"weights"``.
        pace: of ``keep="dual"``, > 0.
        gain: of ``keep="weights"``: exponent of the discrepancy, > 0.
        step: of ``keep="weights"``: largest factor at a time, > 1.
        times: in an epoch, >= 1, the last one at its end; needs ``step_batch`` after every batch.
            Where epochs are long, so that the density changes much in one, many small changes
            disturb the network less than a large one.
        warm_up: share of the run before the first change.
        cool_down: share of the run from which the target itself is wanted.
        lowest: least lambda, > 0; a group at 0 starts there. None: 1e-3, as a price 1e-6.
        highest: largest lambda.
        exact: False leaves lambda alone from cool-down on, so that the density drifts.

    Raises:
        ValueError: a value out of range, or nothing is regularised.

    Reference: the discrepancy principle of inverse problems; a target for lambda is found in the
    published code of Bungert et al. 2022 too.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        epochs: int,
        steps_per_epoch: int,
        density: float = 0.1,
        keep: str = "dual",
        pace: float = 4.0,
        gain: float = 1.0,
        step: float = 2.0,
        times: int = 1,
        warm_up: float = 0.1,
        cool_down: float = 0.9,
        lowest: float | None = None,
        highest: float = 100.0,
        exact: bool = True,
    ) -> None:
        super().__init__([], "epoch", epochs, steps_per_epoch)
        self.groups = [
            index
            for index, group in enumerate(optimizer.param_groups)
            if group.get("regularizer", "none") != "none"
        ]
        self.proximal = hasattr(optimizer, "prune_to")
        if lowest is None:
            lowest = 1e-6 if self.proximal else 1e-3
        if not self.groups or not (self.proximal or hasattr(optimizer, "nonzero_at")):
            raise ValueError(
                "The density controller needs a Bregman optimizer with a regulariser, such as "
                "AdaBreg with l1, or a proximal one."
            )
        for option, value, fine in (
            ("density", density, 0 < density <= 1),
            ("keep", keep, keep in KEEPS),
            ("pace", pace, pace > 0),
            ("gain", gain, gain > 0),
            ("step", step, step > 1),
            ("times", times, times == int(times) and times >= 1),
            ("warm_up", warm_up, 0 <= warm_up <= 1),
            ("cool_down", cool_down, warm_up <= cool_down <= 1),
            ("lowest", lowest, 0 < lowest < highest),
        ):
            if not fine:
                raise ValueError(f"Invalid {option} of the density controller: {value!r}.")
        self.optimizer: Any = optimizer
        self.target, self.keep, self.gain, self.largest = density, keep, gain, step
        self.lowest, self.highest = lowest, highest
        self.times = min(times, steps_per_epoch)
        self.first = max(1, math.ceil(warm_up * epochs * self.times))
        self.end = math.ceil(cool_down * epochs * self.times)
        self.pace, self.exact = pace, exact
        self.turn, self.batches, self.start, self.before = 0, 0, density, 0.0

    def step_batch(self) -> None:
        """Act after some batches of an epoch, in equal distances, if it is to act several times."""
        self.batches += 1
        done = self.batches * self.times // self.steps_per_epoch
        if self.turn % self.times < done < self.times:
            self._act()

    def step_epoch(self, metric: float | None = None) -> None:
        """Act at the end of an epoch."""
        self.batches = 0
        self.turn = self.turn // self.times * self.times + self.times - 1
        self._act()

    def _act(self) -> None:
        """Measure the density and, from warm-up on, change lambda."""
        self.turn += 1
        now, before = self.density(), self.before
        self.before = now
        late = self.turn >= self.end
        if self.turn < self.first or (late and not self.exact) or self._over():
            return
        if self.turn == self.first:
            self.start = now
        lams = [max(lam, self.lowest) for lam in self._lams()]
        wanted = self.target if late else self.wanted()
        if self.proximal:
            factor = self._price_factor(now, before, SPARE * wanted)
        elif late or self.keep == "dual":
            factor = self._factor_for(wanted, lams)
        else:
            factor = self._discrepancy(now, self.target)
        for index, lam in zip(self.groups, lams, strict=True):
            value = min(max(lam * factor, self.lowest), self.highest)
            if self.proximal:
                self.optimizer.param_groups[index]["lam"] = value
            else:
                self.optimizer.set_lam(value, index, keep="dual" if late else self.keep)
        if self.proximal and late:
            self.optimizer.prune_to(round(self.target * self._size()), self.groups)

    def wanted(self) -> float:
        """The density of now on the way to the target, for ``keep="dual"``."""
        done = (self.turn - self.first + 1) / (self.end - self.first)
        gap = max(self.start, 1e-6) / self.target  # an empty network has no logarithm
        return self.target * gap ** math.exp(-self.pace * done)

    @torch.no_grad()
    def density(self) -> float:
        """Non-zero weights / weights of the groups with a regulariser."""
        return sum(int(torch.count_nonzero(w)) for w in self._weights()) / self._size()

    def state_dict(self) -> dict[str, Any]:
        """The count, the densities at the start and last, and the lambdas: plain numbers."""
        state = {"turn": self.turn, "start": self.start, "before": self.before}
        return {**state, "lams": self._lams(), "exact": self.exact}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, and write its lambdas into the groups.

        Raises:
            ValueError: the state belongs to another kind of scheduler or number of groups.
        """
        if len(state.get("lams", ())) != len(self.groups):
            raise ValueError(
                "The scheduler's state belongs to another scheduler. Use its settings."
            )
        self.turn = state["turn"] if "turn" in state else state["epoch"] * self.times
        self.start, self.batches = state["start"], 0
        self.before = state.get("before", 0.0)
        self.exact = state.get("exact", False)  # an older run goes on as it began
        for index, lam in zip(self.groups, state["lams"], strict=True):
            self.optimizer.param_groups[index]["lam"] = lam

    def _lams(self) -> list[float]:
        return [float(self.optimizer.param_groups[index]["lam"]) for index in self.groups]

    def _weights(self) -> list[torch.Tensor]:
        return [w for index in self.groups for w in self.optimizer.param_groups[index]["params"]]

    def _size(self) -> int:
        return sum(weight.numel() for weight in self._weights())

    def _over(self) -> bool:
        """Whether the regulariser is gone, as in debiasing: lambda no longer matters."""
        groups = self.optimizer.param_groups
        return any(groups[index]["regularizer"] == "none" for index in self.groups)

    def _price_factor(self, now: float, before: float, wanted: float) -> float:
        """The factor of a price: what falls too low comes back slowly, or never."""
        approaching = (before - now) * (now - wanted) > 0 and before > 0
        factor = self._discrepancy(now * (now / before) if approaching else now, wanted)
        if now >= before:
            return factor
        if now <= wanted:  # too low and still falling
            return min(factor, 1 / self.largest)
        count = max(1, round(wanted * self._size()))
        steps = self.steps_per_epoch // self.times
        return min(factor, self.optimizer.factor_for(count, steps, self.groups))

    def _discrepancy(self, density: float, wanted: float) -> float:
        ratio = (density / wanted) ** self.gain
        return min(max(ratio, 1 / self.largest), self.largest)

    def _factor_for(self, density: float, lams: list[float]) -> float:
        """The factor of all lambdas at which the dual variables stand for a density: bisection."""
        wanted = round(density * self._size())
        low, high = math.log(self.lowest / max(lams)), math.log(self.highest / min(lams))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            pairs = zip(self.groups, lams, strict=True)
            found = sum(self.optimizer.nonzero_at(lam * math.exp(middle), i) for i, lam in pairs)
            low, high = (middle, high) if found > wanted else (low, middle)
        return math.exp(high)
