"""The panels of a sweep in Weights & Biases: from a description to a view of the project.

The description is ``configs/wandb_dashboard.yaml``; the names in it are those that
:class:`snnbreg.training.WandbLogger` logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

KEYS = {"group_by", "panels", "x_axis"}
PANEL_KEYS = {"title", "type", "x", "y", "log_x"}
MOST_LINES = 100
"""W&B draws the first ten lines of a panel unless told otherwise."""


def workspace(
    description: Mapping[str, Any], project: str, entity: str = "", group: str | None = None
) -> Any:
    """A workspace of W&B with the described panels; needs no network.

    Args:
        description: ``group_by``, what runs are grouped by; ``x_axis``, the default of the
            panels' ``x``; ``panels``, each with ``title``, ``type`` (``line``, ``scatter``,
            ``histogram``), ``y`` (a list), and where wanted ``x`` and ``log_x``. Names that start
            with ``config.`` are settings; a ``*`` in ``y`` stands for any characters.
        project: W&B project.
        entity: user or team; empty for the account's own.
        group: show the runs of this group alone (a sweep's is the name of its folder).

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``.

    Raises:
        ValueError: wandb-workspaces is not installed, or the description is not as above.
    """
    try:
        import wandb_workspaces.workspaces as ws  # not everyone has it
    except ImportError as error:
        raise ValueError(
            "The dashboard needs the package wandb-workspaces: pip install 'snnbreg[dashboard]'"
        ) from error
    if set(description) != KEYS:
        raise ValueError(f"A dashboard has the keys {sorted(KEYS)}, not {sorted(description)}")
    panels = [_panel(panel, description["x_axis"]) for panel in description["panels"]]
    section = ws.Section(
        name=f"Sweep {group}" if group else "Sweeps",
        panels=panels,
        is_open=True,
        layout_settings=ws.SectionLayoutSettings(columns=3, rows=-(-len(panels) // 3)),
    )
    return ws.Workspace(
        entity=entity,
        project=project,
        name=section.name,
        sections=[section],
        settings=ws.WorkspaceSettings(x_axis=description["x_axis"], max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters="" if group is None else ws.And(ws.Metric("Group") == group),
            groupby=[
                ws.Config(setting) if setting else ws.Metric(name)
                for name, setting in ((n, _setting(n)) for n in description["group_by"])
            ],
        ),
    )


def _setting(name: str) -> str:
    """The dotted name of a setting that is written ``config.NAME``; empty for other names."""
    return name[len("config.") :] if name.startswith("config.") else ""


def _panel(panel: Mapping[str, Any], x_axis: str) -> Any:
    title = str(panel.get("title", "?"))
    unknown = sorted(set(panel) - PANEL_KEYS)
    if unknown:
        raise ValueError(
            f"Panel {title!r} has unknown keys {unknown}; known are {sorted(PANEL_KEYS)}"
        )
    if panel.get("type") not in PANELS:
        raise ValueError(
            f"Panel {title!r} has the type {panel.get('type')!r}; choose from {', '.join(PANELS)}"
        )
    names = panel.get("y")
    if not isinstance(names, list) or not names:
        raise ValueError(f"Panel {title!r} needs y, a list of names")
    return PANELS[panel["type"]](title, panel.get("x", x_axis), names, panel.get("log_x"))


def _line(title: str, x: str, names: list[str], log_x: bool | None) -> Any:
    """A line per group of runs: their mean, and one standard deviation as a band."""
    import wandb_workspaces.reports.v2 as wr

    several = any("*" in name for name in names)
    single: list[Any] = [] if several else list(names)
    pattern = "|".join(re.escape(name).replace(r"\*", ".*") for name in names)
    return wr.LinePlot(
        title=title,
        x=x,
        y=single,
        metric_regex=f"^({pattern})$" if several else None,
        log_x=log_x,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )


def _scatter(title: str, x: str, names: list[str], log_x: bool | None) -> Any:
    """A point per run, by its settings and the figures of its summary."""
    import wandb_workspaces.reports.v2 as wr

    if len(names) > 1 or "*" in names[0]:
        raise ValueError(f"Panel {title!r} is a scatter plot: its y is one name, not {names}")
    ends = [
        wr.Config(setting) if setting else wr.SummaryMetric(name)
        for name, setting in ((n, _setting(n)) for n in (x, names[0]))
    ]
    return wr.ScatterPlot(title=title, x=ends[0], y=ends[1], log_x=log_x)


# W&B shows logged histograms in panels of lines: of a single run, as a map of bins against x
PANELS = {"line": _line, "scatter": _scatter, "histogram": _line}


def specification(view: Any) -> dict[str, Any]:
    """What W&B is sent for a workspace, as JSON holds it."""
    found: dict[str, Any] = view._to_model().model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    return found


def save(view: Any) -> str:
    """Save a workspace as a new view of its project; returns the address.

    Raises:
        ValueError: there is no account, or W&B refuses.
    """
    import wandb

    try:
        if not view.entity:
            view.entity = wandb.Api().default_entity
        return str(view.save_as_new_view().url)
    except wandb.errors.Error as error:
        raise ValueError(
            f"W&B did not save the view: {error}. `wandb login` sets up an account; --print needs "
            "none"
        ) from error
