"""What all optimizers of this package share: validation, closures, loading."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from snnbreg.optim.regularizers import get_regularizer

log = logging.getLogger(__name__)

# Keys that torch's own tools write into parameter groups, beside an optimizer's options.
_FOREIGN_KEYS = {"params", "param_names", "name", "initial_lr"}
_FOREIGN_KEYS |= {"max_lr", "min_lr", "max_momentum", "base_momentum"}


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


def check_betas(betas: Sequence[Any]) -> None:
    """Refuse anything but two decays of moments, each in [0, 1).

    Raises:
        ValueError: says which one is wrong.
    """
    if len(betas) != 2:
        raise ValueError(f"Invalid betas: {betas!r}. They must be two numbers.")
    check_number("betas[0]", betas[0], below=1)
    check_number("betas[1]", betas[1], below=1)


class RegularizedOptimizer(Optimizer):
    """Base of optimizers with a regulariser per parameter group.

    A subclass writes ``_step_group``, one step for the parameters of a group that have a gradient,
    and ``_check``, which validates the options of its own.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._check_options(defaults)
        super().__init__(params, defaults)

    def _step_group(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        """Perform one step for some parameters of a group."""
        raise NotImplementedError

    def _check(self, group: Mapping[str, Any]) -> None:
        """Validate the options that only this optimizer has."""

    def _check_options(self, group: Mapping[str, Any]) -> None:
        """Validate a group's options, or the defaults."""
        check_number("lr", group["lr"])
        check_number("lam", group["lam"])
        get_regularizer(group["regularizer"])
        self._check(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with its own options.

        Raises:
            ValueError: an unknown option, a value out of range, or a regulariser that is not
                defined for the shapes of the parameters.
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
            if any(param.is_complex() for param in group["params"]):
                raise ValueError(f"{type(self).__name__} does not support complex parameters.")
            get_regularizer(group["regularizer"], *(param.shape for param in group["params"]))
            self._check_options(group)
        except ValueError:
            self.param_groups.pop()
            raise
        dimensions = {min(param.ndim, 2) for param in group["params"]}
        if group["regularizer"] != "none" and group["lam"] > 0 and dimensions >= {1, 2}:
            log.warning(
                "A parameter group with weights and parameters of one dimension (biases, norms, "
                "delays) shrinks all of them. parameter_groups(network) keeps them apart."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore, with defaults for options that an older state does not know."""
        super().__setstate__(state)
        for group in self.param_groups:
            for option, value in self.defaults.items():
                if option != "differentiable":  # torch adds it here, no group of ours has it
                    group.setdefault(option, value)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step.

        Args:
            closure: re-evaluates the model and returns the loss.

        Returns:
            The loss the closure returned, ``None`` without closure.

        Raises:
            RuntimeError: a gradient is sparse, or a regulariser that couples the parameters of its
                group finds a gradient of some of them only.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if any(param.grad.is_sparse for param in params):
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients.")
            if 0 < len(params) < len(group["params"]) and _couples(group):
                raise RuntimeError(
                    f"Regularizer {group['regularizer']!r} couples the parameters of its group: "
                    "all of them need a gradient, or none."
                )
            if params:
                self._step_group(params, [p.grad for p in params if p.grad is not None], group)
        return loss

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


def _couples(group: Mapping[str, Any]) -> bool:
    """Whether a group's regulariser couples its parameters."""
    return get_regularizer(group["regularizer"]).joint is not None


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


def _copied(saved: dict[str, Any], param: Tensor) -> dict[str, Any]:
    """A copy of a parameter's saved state on the parameter's device, precision kept."""
    copy: dict[str, Any] = {}
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
