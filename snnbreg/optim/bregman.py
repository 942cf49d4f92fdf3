"""What all Bregman optimizers share: the care for the dual variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from snnbreg.optim import dual
from snnbreg.optim.base import RegularizedOptimizer, check_number
from snnbreg.optim.dual import Rule, State

BATCH = 1 << 20
"""Weights whose updates are made before they are added to the duals, unless one has more."""


class BregmanOptimizer(RegularizedOptimizer):
    """Base of optimizers that move a dual variable v and read the weights off it.

    A subclass writes ``_descend``, which subtracts its update from tensors. Where ``lam J = 0``
    these are the parameters (theta = delta v: the subclass *is* SGD or Adam with learning rate
    ``lr * delta``); elsewhere they start at zero, and this class adds them to the dual variables
    and reads the weights off those.

    The weights are a pure function of v. **Whoever changes regularised weights from outside**
    (loading, rounding, clamping, masking) **calls** ``resync`` afterwards, or the next step undoes
    the change. ``lam`` and ``delta`` of a group may be changed at any time, by ``set_lam`` or by
    a scheduler that writes into the group; ``regularizer`` too, but then zero weights forget
    how close to returning they were.
    """

    def _descend(
        self,
        targets: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        group: Mapping[str, Any],
        scale: float,
    ) -> None:
        """Subtract ``scale`` times the update from every target, in place.

        The targets have the type of the gradients or, where that is less precise, float32.
        """
        raise NotImplementedError

    def _check(self, group: Mapping[str, Any]) -> None:
        check_number("delta", group["delta"], positive=True)

    def _step_group(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        rule = Rule.of(group)
        for family in rule.families(params):
            dual.prepare(self._states_of(family), family, rule)
        if rule.is_free:
            self._descend(params, grads, self._states_of(params), group, rule.delta)
            return
        for some in _batches(rule, params):
            targets, gradients = params[some], grads[some]
            updates = [torch.zeros_like(grad, dtype=_at_least_float32(grad)) for grad in gradients]
            self._descend(updates, gradients, self._states_of(targets), group, 1.0)
            dual.move(targets, updates, self._states_of(targets), rule)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, see the base class; those that kept v as a sum of two are read as well."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if "drift" in state:
                state["dual"] = state["dual"] + state["drift"]
                for key in ("drift", "low", "high", "pending"):
                    state.pop(key, None)

    @torch.no_grad()
    def dual(self, param: Tensor) -> Tensor:
        """The dual variable v of a parameter, a float64 tensor of its shape.

        Args:
            param: one of the optimizer's parameters.

        Raises:
            ValueError: the parameter is not in this optimizer.
        """
        rule, family = self._family_of(param)
        position = [param is own for own in family].index(True)
        states = self._known_of(family)
        if rule.is_free or any("rule" not in state for state in states):
            return rule.initial_duals(family)[position]
        dual.prepare(states, family, rule)
        return states[position]["dual"].clone()

    @torch.no_grad()
    def resync(self, params: Iterable[Tensor] | None = None) -> None:
        """Re-derive v from the weights after they were changed from outside.

        Where a weight (or its group, for group regularisers) is not the one its v stands for, v
        becomes ``theta / delta + lam p`` with p in dJ(theta), zero for zero weights; elsewhere
        v is kept. Momenta are kept.

        Args:
            params: the parameters that were changed; all of the optimizer's by default.

        Raises:
            ValueError: a parameter is not in this optimizer.
        """
        if params is None:
            params = [param for group in self.param_groups for param in group["params"]]
        for param in params:
            rule, family = self._family_of(param)
            states = self._known_of(family)
            if all("rule" in state for state in states):
                dual.resync(states, family, rule)

    @torch.no_grad()
    def set_lam(self, value: float, group: int | None = None, keep: str = "weights") -> None:
        """Change the regularisation strength.

        With ``keep="weights"`` nothing appears or vanishes by the change itself: theta and
        p = (v - theta / delta) / lam stay, and v becomes theta / delta + lam' p. At lam = 0 the
        subgradients of zero weights are forgotten: coming back from it, p is taken from
        dJ(theta), zero where theta is zero. Writing ``group["lam"]`` has the same effect, from
        the next step on. With ``keep="dual"`` v stays, so that weights shrink or grow by the
        change of the threshold, and some vanish or appear.

        Args:
            value: the new lam, >= 0.
            group: index of a parameter group; all groups with a regulariser by default.
            keep: ``"weights"`` or ``"dual"``.

        Raises:
            ValueError: the value is out of range, or ``keep`` is neither.
        """
        check_number("lam", value)
        if keep not in ("weights", "dual"):
            raise ValueError(f"Invalid keep: {keep!r}. Valid values are weights, dual.")
        regularized = [entry for entry in self.param_groups if entry["regularizer"] != "none"]
        for settings in regularized if group is None else [self.param_groups[group]]:
            old = Rule.of(settings)
            settings["lam"] = value
            for family in old.families(settings["params"]):
                states = self._known_of(family)
                if keep == "dual":
                    dual.rethreshold(self._states_of(family), family, old, Rule.of(settings))
                elif all("rule" in state for state in states):
                    dual.prepare(states, family, Rule.of(settings))

    @torch.no_grad()
    def nonzero_at(self, lam: float, group: int) -> int:
        """How many weights of a group ``set_lam(lam, group, keep="dual")`` would leave non-zero."""
        settings = self.param_groups[group]
        duals = [self.dual(param) for param in settings["params"]]
        thetas = Rule.of(settings)._replace(lam=lam).weights(duals)
        return sum(int(torch.count_nonzero(theta)) for theta in thetas)

    def _states_of(self, params: Iterable[Tensor]) -> list[State]:
        """The states of parameters, which they have from now on."""
        return [self.state[param] for param in params]

    def _known_of(self, params: Iterable[Tensor]) -> list[State]:
        """The states of parameters, empty where there are none yet."""
        return [self.state.get(param, {}) for param in params]

    def _family_of(self, param: Tensor) -> tuple[Rule, list[Tensor]]:
        """The rule of a parameter's group, and who is read off the duals together with it."""
        for group in self.param_groups:
            rule = Rule.of(group)
            for family in rule.families(group["params"]):
                if any(param is own for own in family):
                    return rule, family
        raise ValueError(
            f"A parameter of shape {tuple(param.shape)} is not in this {type(self).__name__}."
        )


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _batches(rule: Rule, params: list[Tensor]) -> Iterable[slice]:
    """Few parameters at a time, so that their updates fit into memory that is at hand.

    All at once where the regulariser couples them.
    """
    start, size = 0, 0
    for stop, param in enumerate(params):
        if size and size + param.numel() > BATCH and rule.functional.joint is None:
            yield slice(start, stop)
            start, size = stop, 0
        size += param.numel()
    yield slice(start, len(params))
