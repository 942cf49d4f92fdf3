"""Draw the density at the end of runs against lambda: ``python scripts/lambda_figure.py FOLDER``.

FOLDER holds the runs of the two sweeps that docs/lam.md names. Writes ``results/lambda/runs.csv``
and ``results/lambda/density.png``.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import torch

from snnbreg.analysis import canvas
from snnbreg.runs import Run, read_runs
from snnbreg.schedulers import make_scheduler

OUTPUT = Path(__file__).parents[1] / "results" / "lambda"
COLUMNS = ("lr", "epochs", "start", "lam", "target", "density", "val_acc", "reach", "seconds")
SHAPE = ("pct_start", "div_factor", "final_div_factor")  # of the one cycle
KINDS = ((1e-3, 4), (1e-3, 16), (1e-2, 4), (1e-2, 16))  # learning rate, epochs


def row(run: Run) -> dict[str, Any]:
    """What the figure needs of a run; ``reach``: the sum of the learning rates of all steps."""
    settings, history = run.settings, run.history
    target = (run.config["scheduler"]["lam"] or {}).get("density")
    epochs = len(history["epoch"])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=settings["optim.lr"])
    shape = {name: settings[f"scheduler.{name}"] for name in SHAPE}
    batches = -(-2100 // settings["dataset.batch_size"])
    schedule = make_scheduler("onecycle", optimizer, epochs, batches, per="step", **shape)
    return {
        "lr": settings["optim.lr"], "epochs": epochs, "start": settings["optim.init_density"],
        "lam": "" if target else settings["optim.lam"], "target": target or "",
        "density": round(history["density"][-1], 4), "val_acc": round(history["val_acc"][-1], 4),
        "reach": round(schedule.lr_sums(optimizer)[0], 4),
        "seconds": round(sum(history["seconds"])),
    }  # fmt: skip


@canvas.styled
def draw(rows: list[dict[str, Any]]) -> Any:
    """A panel per start, a line per learning rate and length."""
    figure, axes = canvas.grid(2, 1, (5.4, 2.9))
    for axis, start, title in zip(
        axes, (1.0, 0.05), ("dense start", "sparse start, 5 %"), strict=True
    ):
        for index, (lr, epochs) in enumerate(KINDS):
            mine = [r for r in rows if (r["lr"], r["epochs"], r["start"]) == (lr, epochs, start)]
            points = sorted((r["lam"], 100 * r["density"]) for r in mine if not r["target"])
            look: dict[str, Any] = {
                "color": canvas.OKABE_ITO[index],
                "marker": canvas.MARKERS[index],
            }
            axis.plot(
                *zip(*points, strict=True),
                **look,
                markersize=5,
                label=f"lr {lr:g}, {epochs} epochs",
            )
            reach = mine[0]["reach"] / (2 if start == 1.0 else 1)
            axis.axvline(reach, color=look["color"], linestyle=":", linewidth=1.2)
        axis.set(title=title, xscale="log", ylim=(0, 105), ylabel="weights at the end, %")
    axes[0].legend(loc="lower left", title="dotted: out of reach right of it",
                   frameon=True, framealpha=1.0, edgecolor="none")  # fmt: skip
    axes[1].set_xlabel("λ")
    return figure


def main(folder: str) -> None:
    """Read the runs, write the table and the picture."""
    rows = [row(run) for run in read_runs(folder) if run.ended]
    rows.sort(key=lambda r: [(isinstance(r[c], str), r[c]) for c in COLUMNS[:5]])
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with open(OUTPUT / "runs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows).savefig(OUTPUT / "density.png", dpi=120)


if __name__ == "__main__":
    main(sys.argv[1])
