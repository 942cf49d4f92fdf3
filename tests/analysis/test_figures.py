from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnbreg.analysis import (
    FIGURES,
    Group,
    Run,
    confusion_matrix,
    draw,
    read_run,
    read_runs,
    write_figures,
)
from snnbreg.analysis import curves as c
from snnbreg.analysis import states as s
from snnbreg.analysis.canvas import save

Make = Callable[..., Path]


def lines(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    """The data of the labelled lines."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines
    }


def bars(axes: Any) -> dict[str, Any]:
    """The data of error bars by label: x, y, lower and upper ends."""
    found = {}
    for container in axes.containers:
        line, _, (segments, *_) = container.lines
        ends = [segment[:, 1].tolist() for segment in segments.get_segments()]
        found[container.get_label()] = (list(line.get_xdata()), list(line.get_ydata()), ends)
    return found


@pytest.mark.parametrize(("draw_it", "schedule"), [(c.figure1, "onecycle"), (c.figure4, "none")])
def test_loss_by_epoch(study: list[Run], draw_it: Any, schedule: str) -> None:
    (axes,) = draw_it(study).axes
    data = lines(axes)
    assert list(data) == ["0", "0.1", "1", "Adam"]
    # losses of the seeds: 3 and 4, 2 and 3, 1 + lambda
    assert data["0.1"] == ([1, 2, 3], [3.5, 2.5, 1.1])
    assert data["1"][1] == [3.5, 2.5, 2.0]
    assert data["Adam"][1] == [3.5, 2.5, 1.0]
    band = axes.collections[1].get_paths()[0].vertices  # of lambda = 0.1: mean -+ sqrt(1/2)
    first = sorted({round(y, 6) for x, y in band if x == 1})
    assert first == pytest.approx([3.5 - math.sqrt(0.5), 3.5 + math.sqrt(0.5)])
    assert ("no schedule" if schedule == "none" else "onecycle") in axes.get_title(loc="left")
    legend = axes.get_legend()
    assert legend.get_title().get_text() == "λ"


def test_nonzero_weights_by_epoch(study: list[Run]) -> None:
    (axes,) = c.figure2(study).axes
    assert lines(axes)["1"] == ([1, 2, 3], [36, 30, 9])
    assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize(("draw_it", "worse"), [(c.figure3, 0.0), (c.figure5, 0.1)])
def test_accuracy_by_lambda(study: list[Run], draw_it: Any, worse: float) -> None:
    (axes,) = draw_it(study).axes
    x, y, ends = bars(axes)["AdaBreg"]
    assert x == [0, 0.1, 1]
    assert y == pytest.approx([0.92 - worse, 0.9 - worse, 0.9 - worse])
    assert ends[1] == pytest.approx([y[1] - 0.01 * math.sqrt(2), y[1] + 0.01 * math.sqrt(2)])
    assert lines(axes)["Adam, dense"][1] == pytest.approx([0.92 - worse] * 2)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", ".1", "1"]
    assert axes.get_xlim()[0] < 0
    seeds = np.concatenate([points.get_offsets() for points in axes.collections[:3]])
    assert len(seeds) == 6


def test_accuracy_against_density(study: list[Run]) -> None:
    (axes,) = c.accuracy_against_density(study).axes
    x, y, _ = bars(axes)["AdaBreg, onecycle"]
    assert x == [1.0, 0.5, 0.25]
    assert y == pytest.approx([0.72, 0.7, 0.7])
    data = lines(axes)
    assert data["Adam, dense"][1] == pytest.approx([0.72, 0.72])
    assert data["one point below"][1] == pytest.approx([0.71, 0.71])
    assert [text.get_text() for text in axes.texts] == ["λ = 1", "λ = 1"]


def test_a_single_density_has_ticks_on_both_sides(make: Make, tmp_path: Path) -> None:
    make({"scheduler.lam": {"name": "target", "density": 0.1}}, nonzero=(9, 9, 9))
    (axes,) = c.accuracy_against_density(read_runs(tmp_path)).axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert len(ticks) > 2
    assert min(ticks) < 0.25 < max(ticks)
    assert [text.get_text() for text in axes.texts] == ["λ steered to 10 %"]


def test_firing_rates(study: list[Run]) -> None:
    (axes,) = c.firing_rates(study).axes
    assert lines(axes)["0.1"][1] == pytest.approx([0.05] * 3)
    assert axes.get_ylabel() == "spikes per neuron and step"
    assert axes.yaxis.get_major_formatter().format_ticks([0.05, 0.1]) == ["0.05", "0.10"]


def test_a_panel_for_every_data_set(make: Make, tmp_path: Path) -> None:
    for name in ("spoken_digits", "ssc", "shd"):
        make({"dataset.name": name})
    panels = c.figure1(read_runs(tmp_path)).axes
    names = [axes.get_title(loc="left").split(" · ")[0] for axes in panels]
    assert names == ["shd", "ssc", "spoken_digits"]


def test_density_per_layer(study: list[Run]) -> None:
    (axes,) = s.density_per_layer(study).axes
    found = bars(axes)
    assert list(found) == ["layer 1, input", "layer 1, recurrent", "readout"]
    # 36, 18 and 9 weights left, a third in each matrix of 12, 16 and 8
    assert found["layer 1, recurrent"][1] == pytest.approx([12 / 16, 6 / 16, 3 / 16])
    assert found["readout"][1] == pytest.approx([12 / 8, 6 / 8, 3 / 8])


def test_firing_rates_per_layer(study: list[Run], make: Make, tmp_path: Path) -> None:
    make({"optim.lam": 1, "seed": 7}, rates=(0.1, math.nan, 0.06), summary={"best_epoch": 1})
    make({"optim.lam": 0.1, "seed": 7}, rates=())  # from before layers were counted
    (axes,) = s.firing_rates_per_layer(read_runs(tmp_path)).axes
    (x, y, ends) = bars(axes)["layer 1"]
    assert x == [0, 0.1, 1]
    assert y == pytest.approx([0.03, 0.03, (0.03 + 0.03 + 0.1) / 3])
    assert ends[1] == pytest.approx([0.03, 0.03])
    assert axes.get_ylabel() == "spikes per neuron and step"
    assert axes.yaxis.get_major_formatter().format_ticks([0.05, 0.1]) == ["0.05", "0.10"]
    assert axes.get_xlabel() == "λ (3 epochs)"
    assert ends[2] == pytest.approx([y[2] - 0.07 / math.sqrt(3), y[2] + 0.07 / math.sqrt(3)])
    old = [read_run(make({"optim.lam": lam}, rates=())) for lam in (0.1, 1)]
    with pytest.raises(ValueError, match="No run has firing_rate/LAYER"):
        s.firing_rates_per_layer(old)


def test_delays_before_and_after(study: list[Run]) -> None:
    (axes,) = s.delay_histograms(study).axes
    after = [bar.get_height() for bar in axes.containers[-1]]
    assert after == [1, 2, 0, 1, 0, 0]  # 0.5, 1.5, 1.5 and 3.0 in bins of one step
    expected = axes.patches[0].get_data().values
    half_normal = [math.erf(d / (2 * math.sqrt(2))) for d in range(7)]
    assert expected == pytest.approx(4 * np.diff(half_normal))


def test_delays_that_the_run_kept(study: list[Run]) -> None:
    run = s.example(c.main_sweeps(study, None)[0])
    assert s.initial_delays(run) is None
    best = run.path / "checkpoints" / "best.pt"
    (run.path / "checkpoints" / "initial.pt").write_bytes(best.read_bytes())
    assert s.initial_delays(run) == pytest.approx([0.5, 1.5, 1.5, 3.0])  # type: ignore[comparison-overlap]


def test_uniform_delays_are_known_before(make: Make) -> None:
    settings = {"model.delay_init": "uniform", "model.delay_range": [10.0, 30.0]}
    run = read_run(make(settings))
    assert s.cumulative(run, np.array([0.0, 10.0, 15.0, 40.0])).tolist() == [0, 0, 0.25, 1]


def test_dual_distances(study: list[Run]) -> None:
    distances = s.duals(study[-1].checkpoint("last"))
    assert list(distances) == [
        "layers.0.linear.weight",
        "layers.0.neuron.weight",
        "readout.linear.weight",
    ]
    # |0.25 - 0.2| - 0.1 at the zero weight, 1.1 - 0.1 at the others
    assert distances["readout.linear.weight"] == pytest.approx([-0.05] + [1.0] * 7)
    (axes,) = s.dual_distances(study).axes
    assert len(axes.patches) == 3
    assert axes.get_yscale() == "log"


def test_confusion(study: list[Run], make: Make) -> None:
    one, two = (
        read_run(make({"seed": 5}, predictions={"test_labels": x, "test_deployed": y}))
        for x, y in (([0, 2, 2], [0, 2, 1]), ([2, 0], [2, 2]))
    )
    matrix = confusion_matrix(Group({}, (one, two)))
    assert matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 2]]
    figure = FIGURES["confusion"].draw(study)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "spoken_digits · Adam, dense\n2 seeds",
        "spoken_digits · AdaBreg, density 100.0%\n2 seeds",
    ]
    for axes in figure.axes:  # of class 0 all are right, of class 1 half, in each of two runs
        assert axes.images[0].get_array().tolist() == [[1, 0], [0.5, 0.5]]
        assert [text.get_text() for text in axes.texts] == ["100", "50", "50"]
    (axes,) = FIGURES["confusion"].draw([one]).axes  # a single run is shown as it is
    assert axes.images[0].get_array().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0.5, 0.5]]
    with pytest.raises(ValueError, match="no run with predictions of classes"):
        FIGURES["confusion"].draw([read_run(make())])


def test_many_words_stand_one_below_the_other_with_their_names(make: Make) -> None:
    words = [f"word {k}" for k in range(20)]
    labels = [k for k in range(20) for _ in range(25)]
    wrong = [(k + (i == 0) + 2 * (i in (1, 2))) % 20 for k in range(20) for i in range(25)]
    found = {"test_labels": labels, "test_deployed": wrong, "class_names": words}
    runs = [read_run(make({"optim.lam": lam}, predictions=found)) for lam in (None, 0.1)]
    figure = FIGURES["confusion"].draw(runs)
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 1)
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_yticklabels()] == words
        assert [text.get_text() for text in axes.get_xticklabels()] == words
        written = [text.get_text() for text in axes.texts]
        assert sorted(set(written)) == ["8", "88"]  # not the 4 % of the class beside it


def test_steps_count_in_the_matrix_where_they_are_labelled(make: Make) -> None:
    found = {"test_labels": [[0, -1, 1], [1, 1, -1]], "test_deployed": [[0, 1, 0], [1, 1, 0]]}
    run = read_run(make(predictions=found))
    assert confusion_matrix(Group({}, (run,))).tolist() == [[1, 0], [1, 2]]


def test_the_class_at_every_step(make: Make) -> None:
    events = np.zeros((2, 5, 3), np.float16)
    events[1, 2, 0] = events[1, 4, 2] = 1
    labels = [[0, 0, 1, 1, -1], [0, 1, 1, -1, -1], [1, 1, 1, 1, 1]]
    runs = []
    for lam, predicted in (
        (None, [[0, 0, 1, 1, 1], [0, 1, 0, 0, 1], [0, 1, 1, 0, 1]]),
        (0.1, [[0, 0, 1, 1, 1], [0, 0, 1, 0, 0], [0, 1, 1, 0, 1]]),
    ):
        found = {
            "test_ids": [7, 8, 9], "test_labels": labels, "test_deployed": predicted,
            "test_events": events, "class_names": ["P", "QR"],
        }  # fmt: skip
        runs.append(read_run(make({"optim.lam": lam}, predictions=found)))
    drawn, strips = FIGURES["steps"].draw(runs).axes
    # of the two kept recordings the second has 2 of 3 right, nearest to 9 of 12
    assert drawn.get_title(loc="left") == "spoken_digits · test recording 8"
    segments = drawn.collections[0].get_segments()
    assert [(s[0, 0], s[:, 1].mean()) for s in segments] == [(2, 0), (4, 2)]
    rows = strips.images[0].get_array()
    assert rows.filled(-1).tolist() == [[0, 1, 1, -1, -1], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]]
    names = [text.get_text() for text in strips.get_yticklabels()]
    assert names == ["class", "Adam, dense", "AdaBreg, 50%"]
    assert [t.get_text() for t in strips.texts] == ["", "66.7%", "66.7%"]
    legend = strips.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["P", "QR"]
    with pytest.raises(ValueError, match="kept events"):
        FIGURES["steps"].draw([read_run(make())])


def test_connectivity_shows_the_matrices(study: list[Run]) -> None:
    figure = s.connectivity(study)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [picture.shape for picture in shown] == [(4, 3), (4, 4), (2, 4)]
    assert all(p[0, 0] == 0 and (p == 1).sum() == p.size - 1 for p in shown)


def test_files_are_the_same_each_time(study: list[Run], tmp_path: Path) -> None:
    first = save(c.figure1(study), tmp_path / "a", "figure1")
    second = save(c.figure1(study), tmp_path / "b", "figure1")
    assert [path.suffix for path in first] == [".svg", ".png"]
    assert first[0].read_bytes() == second[0].read_bytes()
    assert first[1].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_figures_without_data_are_left_out(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(rates=())  # one lambda, with a schedule, without checkpoints
    drawn = write_figures(read_runs(tmp_path), tmp_path / "figures")
    assert set(drawn) == {
        "figure1",
        "figure2",
        "figure3",
        "accuracy_against_density",
        "firing_rates",
    }
    assert "figure4 is left out: There is no finished run" in caplog.text
    assert "connectivity is left out" in caplog.text
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(drawn)
    with pytest.raises(ValueError, match="no figure 'figure6'; choose from figure1, "):
        draw("figure6", [])
    assert list(FIGURES)[:5] == [f"figure{i}" for i in range(1, 6)]
