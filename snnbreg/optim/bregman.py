"""What all Bregman optimizers share: the torch contract and the care for the dual variable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from snnbreg.optim import dual
from snnbreg.optim.dual import Rule, State
from snnbreg.optim.regularizers import get_regularizer

# Keys that torch's own tools write into parameter groups, beside an optimizer's options.
_FOREIGN_KEYS = frozenset(
    [
        "params",
        "param_names",
        "name",
        "initial_lr",
        "max_lr",
        "min_lr",
        "max_momentum",
        "base_momentum",
    ]
)


def check_number(
    option: str, value: Any, *, positive: bool = False, below: float = math.inf
) -> None:
    """Refuse a hyper-parameter outside [0, below), or (0, below) if it must be positive.

    Raises:
        ValueError: names the option, the value and the valid range.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value < below or (positive and value == 0):
        bounds = (
            f"{'>' if positive else '>='} 0 and {'finite' if below == math.inf else f'< {below:g}'}"
        )
        raise ValueError(f"Invalid {option}: {value!r}. It must be a number {bounds}.")


class BregmanOptimizer(Optimizer):
    """Base of optimizers that move a dual variable v and read the weights off it.

    A subclass writes ``_descend``, which subtracts its update from tensors it is given, and
    ``_check``, which validates its own options. This class hands it the dual variables, or the
    parameters themselves where ``lam J = 0`` (then theta = delta v, and the subclass *is* SGD or
    Adam with learning rate ``lr * delta``), and reconstructs the weights in place.

    The weights are a pure function of v. **Whoever changes regularised weights from outside**
    (loading, rounding, clamping, masking) **calls** ``resync`` afterwards, or the next step undoes
    the change. ``lam`` and ``delta`` of a group may be changed at any time, by ``set_lam`` or by
    a scheduler that writes into the group; ``regularizer`` too, but then the zeros' memory starts
    again.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._check_options(defaults)
        super().__init__(params, defaults)

    def _descend(
        self,
        targets: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        group: Mapping[str, Any],
        scale: float,
    ) -> None:
        """Subtract ``scale`` times the update from every target, in place."""
        raise NotImplementedError

    def _check(self, group: Mapping[str, Any]) -> None:
        """Validate the options that only this optimizer has."""

    def _check_options(self, group: Mapping[str, Any]) -> None:
        """Validate a group's options, or the defaults."""
        check_number("lr", group["lr"])
        check_number("lam", group["lam"])
        check_number("delta", group["delta"], positive=True)
        get_regularizer(group["regularizer"])
        self._check(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with its own options.

        Raises:
            ValueError: an unknown option, a value out of range, or a regulariser that is not
                defined for the shape of one of the parameters.
        """
        unknown = sorted(set(param_group) - _FOREIGN_KEYS - set(self.defaults))
        if unknown:
            raise ValueError(
                f"Unknown option {unknown[0]!r} in a parameter group. "
                f"Valid options are {', '.join(self.defaults)}."
            )
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check_options(group)
            for param in group["params"]:
                get_regularizer(group["regularizer"], param.shape)
                if param.is_complex():
                    raise ValueError(f"{type(self).__name__} does not support complex parameters.")
        except ValueError:
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore, with defaults for options that an older state does not know."""
        super().__setstate__(state)
        for group in self.param_groups:
            for option, value in self.defaults.items():
                group.setdefault(option, value)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step.

        Args:
            closure: re-evaluates the model and returns the loss.

        Returns:
            The loss the closure returned, ``None`` without closure.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if any(param.grad.is_sparse for param in params):
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients.")
            if params:
                self._step_group(params, group)
        return loss

    def _step_group(self, params: list[Tensor], group: dict[str, Any]) -> None:
        grads = [param.grad for param in params if param.grad is not None]
        states = [self.state[param] for param in params]
        rule = Rule.of(group)
        for param, state in zip(params, states, strict=True):
            dual.prepare(state, param, rule)
        if rule.is_free:
            self._descend(params, grads, states, group, rule.delta)
        else:
            self._descend([state["drift"] for state in states], grads, states, group, 1.0)
            dual.reconstruct(params, states, rule, group["foreach"] is not False)

    @torch.no_grad()
    def dual(self, param: Tensor) -> Tensor:
        """The dual variable v of a parameter, a float64 tensor of its shape.

        Args:
            param: one of the optimizer's parameters.

        Raises:
            ValueError: the parameter is not in this optimizer.
        """
        rule = Rule.of(self._group_of(param))
        state = self.state.get(param, {})
        if rule.is_free or "rule" not in state:
            return rule.initial_dual(param)
        dual.prepare(state, param, rule)
        return dual.read(state)

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
            rule = Rule.of(self._group_of(param))
            state = self.state.get(param, {})
            if "rule" in state:
                dual.resync(state, param, rule)

    @torch.no_grad()
    def set_lam(self, value: float, group: int | None = None) -> None:
        """Change the regularisation strength; nothing appears or vanishes by the change itself.

        theta and p = (v - theta / delta) / lam stay, and v becomes theta / delta + lam' p. At
        lam = 0 the subgradients of zero weights are forgotten: coming back from it, p is taken
        from dJ(theta), zero where theta is zero. Writing ``group["lam"]`` has the same effect,
        from the next step on.

        Args:
            value: the new lam, >= 0.
            group: index of a parameter group; all groups with a regulariser by default.

        Raises:
            ValueError: the value is out of range.
        """
        check_number("lam", value)
        for index, settings in enumerate(self.param_groups):
            if index == group or (group is None and settings["regularizer"] != "none"):
                settings["lam"] = value
                for param in settings["params"]:
                    if "rule" in self.state.get(param, {}):
                        dual.prepare(self.state[param], param, Rule.of(settings))

    def _group_of(self, param: Tensor) -> dict[str, Any]:
        for group in self.param_groups:
            if any(param is own for own in group["params"]):
                return group
        raise ValueError(
            f"A parameter of shape {tuple(param.shape)} is not in this {type(self).__name__}."
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; every tensor is copied and keeps the precision it was saved in.

        torch matches parameters by position alone and casts states to the parameter's type. Here
        names are compared where both sides have them (build the optimizer from named parameters),
        shapes always, and the float64 dual of a float32 or bfloat16 parameter stays float64.

        Raises:
            ValueError: other groups, names or shapes than this optimizer's.
        """
        params = [param for group in self.param_groups for param in group["params"]]
        indices = [index for group in state_dict["param_groups"] for index in group["params"]]
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=False):
            _check_names(group.get("param_names"), saved.get("param_names"))
        owners = dict(zip(indices, params, strict=False))
        loaded = {
            owners[index]: _copied(saved, owners[index])
            for index, saved in state_dict["state"].items()
            if index in owners
        }
        super().load_state_dict(state_dict)
        self.state.update(loaded)


def _check_names(own: list[str] | None, saved: list[str] | None) -> None:
    """Compare the parameter names of a group with those of a saved one."""
    if own is None or saved is None or own == saved:
        return
    differing = [pair for pair in zip(own, saved, strict=False) if pair[0] != pair[1]]
    detail = (
        f"{differing[0][1]!r} stands where {differing[0][0]!r} is expected" if differing else ""
    )
    raise ValueError(
        "The optimizer state belongs to other parameters: "
        f"{detail or f'{len(saved)} names instead of {len(own)}'}. "
        "Build the optimizer from the same parameters in the same order as the saved one."
    )


def _copied(saved: State, param: Tensor) -> State:
    """A copy of a parameter's saved state on the parameter's device, precision kept."""
    copy: State = {}
    for key, entry in saved.items():
        if isinstance(entry, Tensor) and key != "step":
            if entry.shape != param.shape:
                raise ValueError(
                    f"The optimizer state {key!r} has shape {tuple(entry.shape)}, its parameter "
                    f"{tuple(param.shape)}: the state belongs to another network."
                )
            entry = entry.to(param.device)
        copy[key] = entry.detach().clone() if isinstance(entry, Tensor) else entry
    return copy
