"""The dual variables of parameters: their start, their changes, and the weights they stand for.

A Bregman optimizer moves ``v = theta / delta + lam p`` and reads the weights off it as
``theta = delta prox_{lam J}(v)`` (see ``regularizers``). v is float64 whatever the type of the
parameter: at lam = 10 the spacing of float32 is 1e-6, the size of late updates.

The state of a parameter holds ``dual``, which is v, and ``rule``, the settings it was made with.
Functions take families of parameters: one alone, or all of a parameter group where its regulariser
couples them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnbreg.optim.functionals import Regularizer
from snnbreg.optim.regularizers import get_regularizer, jointly

CHUNK = 1 << 14
"""Weights that are read off v at a time, about: what they take stays in a core's cache."""


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

    def initial_duals(self, thetas: Sequence[Tensor]) -> list[Tensor]:
        """``theta / delta + lam p`` with p in dJ(theta), zero where theta is zero; float64."""
        thetas = [theta.detach().double() for theta in thetas]
        subgradients = jointly(self.functional, lambda j, theta: j.subgradient(theta), thetas)
        return [
            theta / self.delta + self.lam * p for theta, p in zip(thetas, subgradients, strict=True)
        ]

    def weights(self, duals: Sequence[Tensor]) -> list[Tensor]:
        """``theta = delta prox_{lam J}(v)``."""
        thetas = jointly(self.functional, lambda j, v: j.prox(v, self.lam), duals)
        return thetas if self.delta == 1 else [self.delta * theta for theta in thetas]

    def families(self, params: Sequence[Tensor]) -> list[list[Tensor]]:
        """The parameters that are read off their duals together: each alone, or all."""
        if self.functional.joint is not None:
            return [list(params)]
        return [[param] for param in params]


State = dict[str, Any]


def prepare(states: Sequence[State], params: Sequence[Tensor], rule: Rule) -> None:
    """Make the states of a family of parameters fit the rule of its group.

    A new state starts from the weights as they are. A changed lam or delta keeps theta and
    p = (v - theta / delta) / lam, and v becomes ``theta / delta' + lam' p``. From lam = 0, and
    from another regulariser, no p is known: it is taken from dJ(theta), zero where theta is zero.
    """
    if rule.is_free:
        for state in states:
            state.pop("dual", None)
            state.pop("rule", None)
    elif any("rule" not in state for state in states):
        _write(states, rule.initial_duals(params), rule)
    elif any(state["rule"] != rule for state in states):
        _write(states, _converted(states, params, rule), rule)


def resync(states: Sequence[State], params: Sequence[Tensor], rule: Rule) -> None:
    """Re-derive v where the weights are no longer those it stands for.

    Entries (or groups) that were changed from outside get the dual of a fresh start; all others
    keep theirs, so that a zero weight does not forget how far it has come.
    """
    prepare(states, params, rule)
    if rule.is_free:
        return
    duals = [state["dual"] for state in states]
    thetas = rule.weights(duals)
    changed = [t.to(p.dtype) != p for t, p in zip(thetas, params, strict=True)]
    changed = jointly(rule.functional, lambda j, c: j.coupled(c) if j.coupled else c, changed)
    fresh = rule.initial_duals(params)
    _write(states, [torch.where(*t) for t in zip(changed, fresh, duals, strict=True)], rule)


def rethreshold(states: Sequence[State], params: Sequence[Tensor], old: Rule, new: Rule) -> None:
    """Change the settings with v kept: theta becomes what v stands for under the new ones."""
    prepare(states, params, old)
    duals = old.initial_duals(params) if old.is_free else [state["dual"] for state in states]
    for param, theta in zip(params, new.weights(duals), strict=True):
        param.copy_(theta)
    _write(states, duals, new)
    prepare(states, params, new)


def move(
    params: Sequence[Tensor], updates: Sequence[Tensor], states: Sequence[State], rule: Rule
) -> None:
    """Add the updates to the dual variables and write the weights they stand for, in place."""
    if rule.functional.joint is not None:
        duals = [state["dual"] for state in states]
        for v, change in zip(duals, updates, strict=True):
            v.add_(change)
        for param, theta in zip(params, rule.weights(duals), strict=True):
            param.copy_(theta)
        return
    prox, cut = rule.functional.prox, rule.functional.cut
    alone = rule.functional.coupled is None
    for param, update, state in zip(params, updates, states, strict=True):
        for theta, change, v in _pieces(alone, cut, param, update, state["dual"]):
            moved = prox(v.add_(change), rule.lam)
            theta.copy_(moved if rule.delta == 1 else moved * rule.delta)


def _pieces(
    alone: bool, cut: tuple[int, int] | None, *tensors: Tensor
) -> Iterable[tuple[Tensor, ...]]:
    """Pieces of tensors of one shape that do not depend on each other, or the whole tensors."""
    first = tensors[0]
    if first.is_cpu and first.numel() > CHUNK:
        if alone and all(t.is_contiguous() for t in tensors):
            return zip(*(t.view(-1).split(CHUNK) for t in tensors), strict=True)
        if cut is not None:
            dim, multiple = cut
            size = max(1, CHUNK * first.shape[dim] // first.numel() // multiple) * multiple
            return zip(*(t.split(size, dim) for t in tensors), strict=True)
    return [tensors]


def _write(states: Sequence[State], duals: Sequence[Tensor], rule: Rule) -> None:
    for state, v in zip(states, duals, strict=True):
        state.update(dual=v, rule=tuple(rule))


def _converted(states: Sequence[State], params: Sequence[Tensor], new: Rule) -> list[Tensor]:
    """The dual variables under new settings: theta stays, and p where it is known."""
    old = Rule(*states[0]["rule"])
    if old.regularizer != new.regularizer:
        return new.initial_duals(params)
    duals = [state["dual"] for state in states]
    thetas = old.weights(duals)
    if old.lam == 0:
        return new.initial_duals(thetas)
    return [
        theta / new.delta + (v - theta / old.delta) * (new.lam / old.lam)
        for v, theta in zip(duals, thetas, strict=True)
    ]
