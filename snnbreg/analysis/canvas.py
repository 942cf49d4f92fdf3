"""How figures look and are saved; the only file that imports matplotlib.

Colours can be told apart with any kind of colour vision: Okabe and Ito's for kinds, viridis
for values of lambda, blue and orange for signs.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from snnbreg.analysis.measures import measure_name
from snnbreg.runs import ACCURACY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, GRID, BASELINE = "#222222", "#dddddd", "#000000"
PANEL = (4.5, 3.3)  # inches, so that ten points are legible on a phone
DPI = 150

STYLE = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 10.5, "axes.labelsize": 10,
    "legend.fontsize": 8.5, "legend.title_fontsize": 8.5, "legend.frameon": False,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "lines.linewidth": 1.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "svg.hashsalt": "snnbreg", "svg.fonttype": "path", "figure.dpi": DPI, "savefig.dpi": DPI,
}  # fmt: skip


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "Figures need matplotlib: pip install 'snnbreg[report]' (tables do not)"
        ) from error
    return matplotlib


BESIDE: dict[str, Any] = {
    "loc": "upper left", "bbox_to_anchor": (1.0, 1.02), "handlelength": 1.4, "labelspacing": 0.3,
    "borderaxespad": 0.2,
}  # fmt: skip
"""A legend to the right of its panel."""

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with ``STYLE``, and leave the caller's settings of matplotlib alone."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with _matplotlib().rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def panels(count: int, size: tuple[float, float] = PANEL) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side; see ``grid``."""
    return grid(1, count, size)


def grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of panels, without pyplot's global state.

    Args:
        rows: of panels.
        columns: of panels.
        size: width and height of each, inches.

    Returns:
        The figure and its panels, row by row.
    """
    _matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``NAME.svg`` and ``NAME.png`` into a folder, which is made.

    The same figure gives the same bytes: no date is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.svg", folder / f"{name}.png"
    paths[0].write_bytes(svg(figure))
    with _matplotlib().rc_context(STYLE):
        figure.savefig(paths[1], dpi=DPI)
    return paths


def svg(figure: Figure) -> bytes:
    """A figure as SVG."""
    buffer = io.BytesIO()
    with _matplotlib().rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def lambda_colours(values: Sequence[float]) -> dict[float, Any]:
    """A colour per value, from dark (small) to light (large), light enough to see on white."""
    colours = _matplotlib().colormaps["viridis"]
    last = max(len(values) - 1, 1)
    return {value: colours(0.92 * i / last) for i, value in enumerate(sorted(values))}


def class_colours(classes: int) -> list[Any]:
    """A colour per class: those of Okabe and Ito, or of many classes steps of a rainbow."""
    if classes <= len(OKABE_ITO):
        return list(OKABE_ITO[:classes])
    return [_matplotlib().colormaps["turbo"](i / (classes - 1)) for i in range(classes)]


def signs() -> Any:
    """Blue for negative, white for zero, orange for positive."""
    _matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signs", ["#0B4F8A", "#FFFFFF", "#C24A00"])


def lambda_axis(axes: Axes, values: Sequence[float]) -> None:
    """An x axis for lambda: logarithmic, with a place for zero."""
    positive = [value for value in values if value > 0]
    if positive:
        axes.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        axes.set_xlim(
            -0.4 * min(positive) if 0 in values else min(positive) / 1.3, 1.3 * max(values)
        )
    axes.set_xticks(sorted(values), [f"{v:g}".removeprefix("0") or "0" for v in sorted(values)])
    if len(values) > 7:
        axes.tick_params(axis="x", labelsize=8)
    axes.minorticks_off()
    axes.set_xlabel("λ")


def score_axis(axes: Axes, what: str, measure: str) -> None:
    """A y axis for a measure, ``what`` saying of which samples: per cent where it is accuracy."""
    name = measure_name(measure)
    axes.set_ylabel(f"{what} {name} (%)" if measure == ACCURACY else f"{what} {name}")
    if measure == ACCURACY:
        percent(axes.yaxis)


def epoch_axis(axes: Axes) -> None:
    """An x axis of whole epochs."""
    axes.locator_params(axis="x", integer=True)
    axes.margins(x=0.02)
    axes.set_xlabel("epoch")


def log_counts(axes: Axes, label: str) -> None:
    """A logarithmic x axis of what is drawn: 1, 2 and 5 times powers of ten, at most five ticks."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [a * 10**b for b in range(12) for a in (1, 2, 5) if low <= a * 10**b <= high]
    ticks = ticks[:: 1 + len(ticks) // 6]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"{label} (logarithmic)")


def log_where_wide(axes: Axes) -> None:
    """A logarithmic y axis where the lines' positive values differ by a factor of 8 or more."""
    values = [float(y) for line in axes.lines for y in np.asarray(line.get_ydata(), float) if y > 0]
    if not values or max(values) < 8 * min(values):
        return
    from matplotlib.ticker import LogLocator

    form = axes.yaxis.get_major_formatter()
    axes.set_yscale("log")
    steps = (1, 2, 5) if max(values) < 200 * min(values) else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(form)
    axes.minorticks_off()


def percent(axis: Any) -> None:
    """Write an axis of fractions in per cent."""
    _matplotlib()
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def thousands(axis: Any) -> None:
    """Write an axis of counts with separators."""
    _matplotlib()
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
