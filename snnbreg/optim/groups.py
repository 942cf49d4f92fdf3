"""Which parameter gets which settings: ordered name patterns, the first match wins.

Every parameter is claimed exactly once; a pattern that claims nothing is an error unless it is
marked optional, and so is a parameter that no pattern claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Assignment:
    """The parameters one pattern claimed.

    Attributes:
        title: the pattern that claimed them, in words where it claims all.
        optimizer: name of the optimizer the parameters belong to.
        names: their names.
        params: the parameters.
        settings: the options of their group (lr, lam, regularizer, ...).
    """

    title: str
    optimizer: str
    names: tuple[str, ...]
    params: tuple[Tensor, ...]
    settings: Mapping[str, Any]

    def group(self) -> dict[str, Any]:
        """The parameter group a torch optimizer takes; it carries the names, not the pattern."""
        return {"params": list(self.params), "param_names": list(self.names), **self.settings}


def assign_groups(
    named_parameters: Iterable[tuple[str, Tensor]], rules: Sequence[Mapping[str, Any]]
) -> list[Assignment]:
    """Assign every trainable parameter to the first rule whose pattern is found in its name.

    Args:
        named_parameters: pairs as ``module.named_parameters()`` gives; those that need no
            gradient are left out.
        rules: in order of precedence, each a mapping with ``pattern`` (for ``re.search``) and,
            optionally, ``max_dims`` (only parameters of at most so many dimensions: 1 for biases
            and norms), ``optimizer`` (a name, ``"weights"`` by default), ``optional`` (whether it
            may match nothing, false by default); all other keys are settings of the group.

    Returns:
        One assignment for each rule that matched, in the order of the rules.

    Raises:
        ValueError: an invalid pattern, one that matches no parameter, one whose matches were all
            claimed before, or a parameter without a rule; the message lists the names.

    Example:
        >>> import torch
        >>> rules = [{"pattern": r"weight$", "lam": 1.0}, {"pattern": "", "regularizer": "none"}]
        >>> assigned = assign_groups(torch.nn.Linear(3, 2).named_parameters(), rules)
        >>> [(a.names, dict(a.settings)) for a in assigned]
        [(('weight',), {'lam': 1.0}), (('bias',), {'regularizer': 'none'})]
    """
    unclaimed = {name: param for name, param in named_parameters if param.requires_grad}
    everything = {name: param.ndim for name, param in unclaimed.items()}
    assignments = []
    for rule in rules:
        settings = dict(rule)
        if "pattern" not in rule:
            raise ValueError(f"A rule of parameter groups has no 'pattern': {settings}.")
        pattern, most = str(settings.pop("pattern")), settings.pop("max_dims", None)
        optimizer, optional = settings.pop("optimizer", "weights"), settings.pop("optional", False)
        try:
            matches = [
                name
                for name, ndim in everything.items()
                if re.search(pattern, name) and (most is None or ndim <= most)
            ]
        except re.error as error:
            raise ValueError(f"Invalid pattern {pattern!r} of parameter names: {error}.") from error
        names = tuple(name for name in matches if name in unclaimed)
        if names:
            params = tuple(unclaimed.pop(name) for name in names)
            limit = "" if most is None else f" of at most {most} dimension{'s' * (most != 1)}"
            title = (pattern or "(all)") + limit
            assignments.append(Assignment(title, optimizer, names, params, settings))
        elif not optional:
            reason = "earlier patterns claimed all its matches" if matches else "nothing matches"
            raise ValueError(
                f"Pattern {pattern!r} claims no parameter: {reason}. Correct it or mark it "
                f"optional. The parameters are {', '.join(everything)}."
            )
    if unclaimed:
        raise ValueError(
            f"No pattern claims the parameters {', '.join(unclaimed)}. Add a rule for them; the "
            f"patterns are {', '.join(repr(rule['pattern']) for rule in rules)}."
        )
    return assignments


def groups_for(
    assignments: Iterable[Assignment], optimizer: str = "weights"
) -> list[dict[str, Any]]:
    """The parameter groups of one optimizer, in the order of the rules.

    Args:
        assignments: what ``assign_groups`` returned.
        optimizer: the name the rules use.
    """
    return [entry.group() for entry in assignments if entry.optimizer == optimizer]


DELAYS = r"(^|\.)(delay|spread)$"
"""The names of delays and spreads."""
RULES: tuple[Mapping[str, Any], ...] = (
    {"name": "delays", "pattern": DELAYS, "optimizer": "delays", "regularizer": "none",
     "optional": True},
    {"name": "biases", "pattern": "", "max_dims": 1, "regularizer": "none", "optional": True},
    {"name": "weights", "pattern": ""},
)  # fmt: skip
"""Of :func:`parameter_groups`, as ``optim.rules`` of the configs have them."""


def parameter_groups(network: nn.Module, delay_lr: float | None = None) -> list[dict[str, Any]]:
    """The parameter groups of a network of this package, or of most others, for one optimizer.

    Args:
        network: its delays and spreads are told by their names, biases and norms by their single
            dimension; what is left are weights.
        delay_lr: learning rate of delays and spreads, in steps; None for the optimizer's own. 0.05
            is what the trainer gives them.

    Returns:
        The groups ``weights``, ``biases`` (and norms) and ``delays`` in this order, each with its
        ``name`` and ``param_names``; empty ones are left out. Only weights follow the optimizer's
        regulariser and lambda.

    Raises:
        ValueError: the network has no weights to learn.

    Example:
        >>> from snnbreg.models import SpikingNetwork
        >>> groups = parameter_groups(SpikingNetwork(inputs=4, outputs=2, hidden=[3]), 0.05)
        >>> [(group["name"], len(group["params"])) for group in groups]
        [('weights', 3), ('biases', 2), ('delays', 1)]
    """
    assigned = assign_groups(network.named_parameters(), RULES)
    groups = [entry.group() for entry in reversed(assigned)]
    if delay_lr is not None:
        groups = [{**g, "lr": delay_lr} if g["name"] == "delays" else g for g in groups]
    return groups


def describe(assignments: Sequence[Assignment], defaults: Mapping[str, Any] | None = None) -> str:
    """A table of the assignment, to print at the start of a run.

    Args:
        assignments: what ``assign_groups`` returned.
        defaults: settings of groups that do not set their own, for instance
            ``optimizer.defaults``.

    Returns:
        Lines of text: a header, one line per pattern, and the names below each.

    Example:
        >>> import torch
        >>> rules = [{"pattern": "weight", "lam": 1.0}, {"pattern": "", "regularizer": "none"}]
        >>> assigned = assign_groups(torch.nn.Linear(3, 2).named_parameters(), rules)
        >>> print(describe(assigned, {"lr": 0.1, "regularizer": "l1"}))
        pattern  optimizer  tensors  entries  lr   lam  regularizer
        weight   weights    1        6        0.1  1    l1
                 weight
        (all)    weights    1        2        0.1  -    none
                 bias
    """
    columns = ("lr", "lam", "regularizer")
    rows: list[tuple[str, ...]] = [("pattern", "optimizer", "tensors", "entries", *columns)]
    for entry in assignments:
        settings = {**(defaults or {}), **entry.settings}
        if settings.get("regularizer") == "none":
            settings["lam"] = None
        entries = sum(param.numel() for param in entry.params)
        shown = (_shown(settings.get(column)) for column in columns)
        row = (entry.title, entry.optimizer, str(len(entry.params)), str(entries))
        rows.append((*row, *shown))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    indent = " " * (widths[0] + 2)
    table = [lines[0]]
    for line, entry in zip(lines[1:], assignments, strict=True):
        table += [line, indent + ", ".join(entry.names)]
    return "\n".join(table)


def _shown(setting: Any) -> str:
    """A setting as the table prints it."""
    if setting is None:
        return "-"
    return f"{setting:g}" if isinstance(setting, (int, float)) else str(setting)
