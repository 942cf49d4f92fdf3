"""The dual variable of one parameter: its storage, read-out and reconstruction.

A Bregman optimizer moves ``v = theta / delta + lam p`` and reads the weights off it as
``theta = delta (v - P(v))`` (see ``regularizers``). At lam = 10 the spacing of float32 is 1e-6,
the size of late updates, so v is stored as a sum

    v = dual + drift

of a float64 ``dual`` that rests and a ``drift`` in the optimizer's working precision that takes
the updates; every ``FOLD_EVERY`` steps the drift is folded into the dual and starts again at zero.
The drift of so few steps is small, so an update is rounded relative to recent updates and not to
lam. Where the regulariser works on single entries the projection is a clip, and

    theta = delta (drift - clip(drift, low, high)),   [low, high] = lam dJ(0) - dual,

needs the working precision only: a step costs about as much as one of Adam.

The state of a parameter holds ``dual``, ``drift``, ``low``, ``high`` (tensors of the parameter's
shape), ``pending`` (steps since the last fold) and ``rule`` (the settings it was made with).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnbreg.optim.regularizers import Regularizer, get_regularizer

FOLD_EVERY = 32
"""Steps between two folds; 32 of them cost less than one more elementwise pass over the weights."""

STATE_KEYS = ("dual", "drift", "low", "high", "pending", "rule")


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


State = dict[str, Any]


def read(state: State) -> Tensor:
    """The dual variable v, float64."""
    return state["dual"] + state["drift"]


def prepare(state: State, param: Tensor, rule: Rule) -> None:
    """Make the state of a parameter fit the rule of its group.

    A new state starts from the weights as they are. A changed lam or delta keeps theta and
    p = P(v) / lam, and v becomes ``theta / delta' + lam' p``. From lam = 0, and from another
    regulariser, no p is known: it is taken from dJ(theta), zero where theta is zero.
    """
    if rule.is_free:
        for key in STATE_KEYS:
            state.pop(key, None)
    elif "rule" not in state:
        _store(state, param, rule, rule.initial_dual(param))
    elif state["rule"] != rule:
        _store(state, param, rule, _converted(read(state), Rule(*state["rule"]), rule))


def resync(state: State, param: Tensor, rule: Rule) -> None:
    """Re-derive v where the weights are no longer those it stands for.

    Entries (or groups) that were changed from outside get the dual of a fresh start; all others
    keep theirs, so that a zero weight does not forget how far it has come.
    """
    prepare(state, param, rule)
    if rule.is_free:
        return
    changed = weights(state, rule).to(param.dtype) != param
    changed = rule.functional.coupled(changed)
    _store(state, param, rule, torch.where(changed, rule.initial_dual(param), read(state)))


def rethreshold(state: State, param: Tensor, old: Rule, new: Rule) -> None:
    """Change the settings with v kept: theta becomes what v stands for under the new ones."""
    prepare(state, param, old)
    v = old.initial_dual(param) if old.is_free else read(state)
    param.copy_(new.delta * (v - new.functional.project(v, new.lam)))
    if new.is_free:
        prepare(state, param, new)
    else:
        _store(state, param, new, v)


def weights(state: State, rule: Rule) -> Tensor:
    """``theta = delta (v - P(v))`` of one parameter, in the precision of the drift or better."""
    if rule.functional.interval is not None:
        drift = state["drift"]
        return rule.delta * (drift - drift.clamp(state["low"], state["high"]))
    v = read(state)
    return rule.delta * (v - rule.functional.project(v, rule.lam))


def reconstruct(params: list[Tensor], states: list[State], rule: Rule, foreach: bool) -> None:
    """Write the weights of moved dual variables into the parameters, in place."""
    for param, state in zip(params, states, strict=True):
        state["pending"] += 1
        if state["pending"] >= FOLD_EVERY:
            _store(state, param, rule, read(state))
    if foreach and rule.functional.interval is not None and rule.delta == 1:
        _multi_tensor_weights(params, states)
    else:
        for param, state in zip(params, states, strict=True):
            param.copy_(weights(state, rule))


def _multi_tensor_weights(params: list[Tensor], states: list[State]) -> None:
    """The fast form of ``weights`` for single entries and delta 1, the same to the last bit."""
    drifts, lows, highs = ([state[key] for state in states] for key in ("drift", "low", "high"))
    if params[0].is_cpu:  # fewer passes over memory count; on an accelerator, fewer launches
        for param, drift, low, high in zip(params, drifts, lows, highs, strict=True):
            inside = param if param.dtype == drift.dtype else torch.empty_like(drift)
            torch.sub(drift, torch.clamp(drift, low, high, out=inside), out=param)
    else:
        _weights_in_few_launches(params, drifts, lows, highs)


def _weights_in_few_launches(
    params: list[Tensor], drifts: list[Tensor], lows: list[Tensor], highs: list[Tensor]
) -> None:
    inside = torch._foreach_maximum(drifts, lows)
    torch._foreach_minimum_(inside, highs)
    torch._foreach_copy_(params, torch._foreach_sub(drifts, inside))


def _converted(v: Tensor, old: Rule, new: Rule) -> Tensor:
    """The dual variable under new settings: theta stays, and p where it is known."""
    inside = old.functional.project(v, old.lam)  # lam p
    if old.regularizer != new.regularizer or old.lam == 0:
        return new.initial_dual(old.delta * (v - inside))
    return (v - inside) * (old.delta / new.delta) + inside * (new.lam / old.lam)


def _store(state: State, param: Tensor, rule: Rule, v: Tensor) -> None:
    """Fold: v becomes the resting part, the drift starts at zero."""
    drift = torch.zeros_like(param, dtype=torch.promote_types(param.dtype, torch.float32))
    state.update(dual=v, drift=drift, pending=0, rule=tuple(rule))
    if rule.functional.interval is not None:
        low, high = rule.functional.interval(rule.lam)
        state.update(low=(low - v).to(drift.dtype), high=(high - v).to(drift.dtype))
