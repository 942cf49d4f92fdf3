"""The dual variable of one parameter: its start, its changes, and the weights it stands for.

A Bregman optimizer moves ``v = theta / delta + lam p`` and reads the weights off it as
``theta = delta prox_{lam J}(v)`` (see ``regularizers``). v is float64 whatever the type of the
parameter: at lam = 10 the spacing of float32 is 1e-6, the size of late updates.

The state of a parameter holds ``dual``, which is v, and ``rule``, the settings it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnbreg.optim.regularizers import Regularizer, get_regularizer

CHUNK = 1 << 14
"""Weights that are read off v at a time: what they take of v stays in a core's cache."""


class Rule(NamedTuple):
    """The settings of a group that fix the map between theta and v.

    Attributes:
        regularizer: a name from ``REGULARIZERS``.
        lam: regularisation strength.
        delta: elastic-net parameter.
    """

    regularizer: str
    lam: float
    delta: float

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> Rule:
        """The rule of a parameter group."""
        return cls(group["regularizer"], float(group["lam"]), float(group["delta"]))

    @property
    def functional(self) -> Regularizer:
        """The regulariser itself."""
        return get_regularizer(self.regularizer)

    @property
    def is_free(self) -> bool:
        """Whether lam J = 0, so that theta = delta v and no dual variable is needed."""
        return self.regularizer == "none" or (self.lam == 0 and not self.functional.constrains)

    def initial_dual(self, theta: Tensor) -> Tensor:
        """``theta / delta + lam p`` with p in dJ(theta), zero where theta is zero; float64."""
        theta = theta.detach().double()
        return theta / self.delta + self.lam * self.functional.subgradient(theta)

    def weights(self, v: Tensor) -> Tensor:
        """``theta = delta prox_{lam J}(v)``."""
        theta = self.functional.prox(v, self.lam)
        return theta if self.delta == 1 else self.delta * theta


State = dict[str, Any]


def prepare(state: State, param: Tensor, rule: Rule) -> None:
    """Make the state of a parameter fit the rule of its group.

    A new state starts from the weights as they are. A changed lam or delta keeps theta and
    p = (v - theta / delta) / lam, and v becomes ``theta / delta' + lam' p``. From lam = 0, and
    from another regulariser, no p is known: it is taken from dJ(theta), zero where theta is zero.
    """
    if rule.is_free:
        state.pop("dual", None)
        state.pop("rule", None)
    elif "rule" not in state:
        state.update(dual=rule.initial_dual(param), rule=tuple(rule))
    elif state["rule"] != rule:
        v = _converted(state["dual"], Rule(*state["rule"]), rule)
        state.update(dual=v, rule=tuple(rule))


def resync(state: State, param: Tensor, rule: Rule) -> None:
    """Re-derive v where the weights are no longer those it stands for.

    Entries (or groups) that were changed from outside get the dual of a fresh start; all others
    keep theirs, so that a zero weight does not forget how far it has come.
    """
    prepare(state, param, rule)
    if rule.is_free:
        return
    changed = rule.weights(state["dual"]).to(param.dtype) != param
    if rule.functional.coupled is not None:
        changed = rule.functional.coupled(changed)
    state["dual"] = torch.where(changed, rule.initial_dual(param), state["dual"])


def rethreshold(state: State, param: Tensor, old: Rule, new: Rule) -> None:
    """Change the settings with v kept: theta becomes what v stands for under the new ones."""
    prepare(state, param, old)
    v = old.initial_dual(param) if old.is_free else state["dual"]
    param.copy_(new.weights(v))
    state.update(dual=v, rule=tuple(new))
    prepare(state, param, new)


def move(params: list[Tensor], updates: list[Tensor], states: list[State], rule: Rule) -> None:
    """Add the updates to the dual variables and write the weights they stand for, in place."""
    alone = rule.functional.coupled is None
    for param, update, state in zip(params, updates, states, strict=True):
        for theta, change, v in _chunks(alone, param, update, state["dual"]):
            v.add_(change)
            theta.copy_(rule.weights(v))


def _chunks(alone: bool, *tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Pieces of tensors of one shape where entries stand alone, or the tensors themselves."""
    if alone and tensors[0].is_cpu and all(t.is_contiguous() for t in tensors):
        return zip(*(t.view(-1).split(CHUNK) for t in tensors), strict=True)
    return [tensors]


def _converted(v: Tensor, old: Rule, new: Rule) -> Tensor:
    """The dual variable under new settings: theta stays, and p where it is known."""
    theta = old.weights(v)
    if old.regularizer != new.regularizer or old.lam == 0:
        return new.initial_dual(theta)
    return theta / new.delta + (v - theta / old.delta) * (new.lam / old.lam)
