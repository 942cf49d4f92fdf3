"""What a report chooses (lambda, baseline, sparsest group, newest run, pairs), and by what.

Wherever a figure must not count, it points to another choice than the one that must.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnbreg.analysis import Group, Run, baseline, newest, read_run, sparsest_within, sweeps
from snnbreg.analysis.pairs import interval, paired_runs
from snnbreg.analysis.studies import dense_groups, selection_score

Make = Callable[..., Path]


def run(settings: dict[str, Any], written: float = 0.0, **summary: Any) -> Run:
    """A run in memory with dotted settings; ``lam`` None makes it Adam's."""
    flat = {"dataset.name": "d", "optim.name": "adabreg", "optim.lam": 0.1} | settings
    if flat["optim.lam"] is None:
        del flat["optim.lam"]
        flat["optim.name"] = settings.get("optim.name", "adam")
    config: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, key = name.split(".")
        place = config
        for group in groups:
            place = place.setdefault(group, {})
        place[key] = value
    return Run(Path("run"), config, {}, {"status": "completed"} | summary, written)


def test_the_sparsest_is_chosen_by_deployed_validation_alone() -> None:
    def figures(deployed: float, others: float, density: float) -> dict[str, float]:
        names = ("test_acc", "deployed_test_acc", "best_val_acc")
        return {"best_deployed_val_acc": deployed, "density": density} | dict.fromkeys(
            names, others
        )

    runs = [
        run({"optim.lam": None}, **figures(0.75, 0.5, 1.0)),
        run({"optim.lam": 0.1}, **figures(0.75, 0.0, 0.5)),
        run({"optim.lam": 0.2}, **figures(0.5, 0.0, 0.25)),
        run({"optim.lam": 0.3}, **figures(0.5, 0.1, 0.25)),  # as sparse as the one before
        run({"optim.lam": 0.4}, **figures(0.25, 1.0, 0.125)),  # better by all other figures
    ]
    by_loss = {loss: sparsest_within(runs, "d", loss) for loss in (0.0, 0.125, 0.25, 0.5)}
    chosen = {loss: group and group.settings["optim.lam"] for loss, group in by_loss.items()}
    assert chosen == {0.0: 0.1, 0.125: 0.1, 0.25: 0.2, 0.5: 0.4}
    assert sparsest_within(runs, "d") == by_loss[0.0]  # a point, which none of these is within
    nearly = run({"optim.lam": 0.5}, **figures(0.741, 0.0, 0.4))
    assert sparsest_within([*runs, nearly], "d").runs == (nearly,)  # type: ignore[union-attr]


def test_the_sparsest_is_held_to_the_best_dense_of_all_schedules() -> None:
    def one(lam: float | None, schedule: str, accuracy: float) -> Run:
        figures = {"best_val_acc": accuracy, "best_deployed_val_acc": accuracy, "density": 0.5}
        return run({"optim.lam": lam, "scheduler.name": schedule}, **figures)

    dense = [one(None, "none", 0.5), one(None, "onecycle", 0.9)]
    assert sparsest_within([*dense, one(0.1, "none", 0.6)], "d") is None
    enough = one(0.1, "onecycle", 0.9)
    assert sparsest_within([*dense, one(0.1, "none", 0.6), enough], "d").runs == (enough,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("select", "score"), [("deployed", 0.2), ("published", 0.8), ("last", 0.8), (None, 0.8)]
)
def test_the_score_is_of_the_evaluation_that_chose_the_checkpoint(
    select: str | None, score: float
) -> None:
    figures = {"best_val_acc": 0.8, "best_deployed_val_acc": 0.2, "test_acc": 0.5}
    chosen_by = {"select": select} if select else {}
    assert selection_score(Group({}, (run({}, **figures, **chosen_by),))) == score


def test_without_validation_accuracy_the_score_is_the_least() -> None:
    runs = [run({}), run({}, best_val_acc=float("nan"))]
    assert selection_score(Group({}, tuple(runs))) == -float("inf")
    dense = [run({"optim.lam": None, "optim.lr": lr}, best_val_acc=accuracy)
             for lr, accuracy in ((1, None), (2, 0.4), (3, 0.6))]  # fmt: skip
    assert [g.settings["optim.lr"] for g in dense_groups(dense, "d")] == [3, 2, 1]


def test_among_equal_lambdas_the_sparsest_then_the_smallest() -> None:
    def chosen(*rows: tuple[float, float, float]) -> float:
        runs = [
            run({"optim.lam": lam}, best_val_acc=accuracy, density=density, test_acc=lam)
            for lam, accuracy, density in rows
        ]
        (sweep,) = sweeps(runs, "d")
        return sweep.chosen()

    assert chosen((0.1, 0.8, 0.1), (0.2, 0.9, 0.9), (0.4, 0.8, 0.1)) == 0.2
    assert chosen((0.1, 0.9, 0.5), (0.2, 0.9, 0.3), (0.4, 0.9, 0.4)) == 0.2
    assert chosen((0.1, 0.9, 0.5), (0.2, 0.9, 0.3), (0.4, 0.9, 0.3)) == 0.2
    assert chosen((0.0, 1.0, 0.1), (0.1, 0.5, 0.9)) == 0.1  # 0 is dense: no choice
    assert chosen((0.0, 1.0, 0.1), (2.0, 0.5, 0.9)) == 2.0
    assert chosen((0.0, 1.0, 0.1)) == 0.0  # but for want of another


def test_the_larger_sweep_is_first_and_of_equal_ones_adabregs() -> None:
    def order(*rows: dict[str, Any]) -> list[tuple[str, str]]:
        found = sweeps([run(row) for row in rows], "d")
        assert {sweep.dataset for sweep in found} == {"d"}
        return [(sweep.optimizer, sweep.label) for sweep in found]

    linbreg, adabreg = {"optim.name": "linbreg", "optim.lr": 1}, {"optim.lr": 2}
    assert order(linbreg, adabreg) == order(adabreg, linbreg) == [("adabreg", ""), ("linbreg", "")]
    seeds = [linbreg | {"seed": seed} for seed in (0, 1)]
    assert order(adabreg, *seeds) == [("linbreg", ""), ("adabreg", "")]
    lambdas = [adabreg | {"optim.lam": lam} for lam in (0.1, 0.2)]
    assert order(*seeds, linbreg | {"seed": 2}, *lambdas) == [("adabreg", ""), ("linbreg", "")]
    # only those of the same optimizer are told apart
    assert order(linbreg, adabreg, adabreg | {"optim.lr": 3})[:2] == [
        ("adabreg", "lr 2"), ("adabreg", "lr 3"),
    ]  # fmt: skip
    # but for how long they were trained
    assert order(linbreg | {"trainer.epochs": 3}, adabreg | {"trainer.epochs": 30}) == [
        ("adabreg", "epochs 30"), ("linbreg", "epochs 3"),
    ]  # fmt: skip


# what makes dense runs the better baseline, most important first: (the better, the worse)
CRITERIA: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"dataset.bin_ms": 1}, {"dataset.bin_ms": 2}),
    ({"optim.name": "adam"}, {"optim.name": "sgd"}),
    ({"scheduler.name": "onecycle"}, {"scheduler.name": "none"}),
    ({"model.tau": 1, "trainer.epochs": 1}, {"model.tau": 2, "trainer.epochs": 1}),
    ({"accuracy": 0.9, "optim.lr": 1}, {"accuracy": 0.1, "optim.lr": 2}),
]


def dense(settings: dict[str, Any]) -> Run:
    accuracy = settings.pop("accuracy", 0.5)
    # the test split must not count
    return run({"optim.lam": None} | settings, best_val_acc=accuracy, test_acc=1 - accuracy)


@pytest.mark.parametrize("any_schedule", [False, True])
@pytest.mark.parametrize("decisive", range(len(CRITERIA)))
def test_the_criteria_of_a_baseline_in_their_order(decisive: int, any_schedule: bool) -> None:
    """Of dense runs that are equal in what comes first, the next thing decides."""
    like = run({key: value for better, _ in CRITERIA for key, value in better.items()
                if key != "accuracy" and not key.startswith("optim.")})  # fmt: skip
    first, second = {}, {}
    for place, (better, worse) in enumerate(CRITERIA):
        first |= better if place <= decisive else worse
        second |= better if place < decisive or place > decisive else worse
    one, other = dense(first), dense(second)
    free = any_schedule and decisive in (2, 3)  # schedule and network do not count then
    for runs in ([one, other], [other, one]):
        found = baseline(runs, like, any_schedule)
        assert found is not None
        assert found.runs == (other if free else one,)


def test_of_all_schedules_a_baseline_trained_as_long_comes_first() -> None:
    long = dense({"trainer.epochs": 30, "accuracy": 0.9})
    short = dense({"trainer.epochs": 3, "accuracy": 0.4})
    for epochs, expected in ((30, long), (3, short), (10, long)):
        found = baseline([short, long], run({"trainer.epochs": epochs}), any_schedule=True)
        assert found is not None
        assert found.runs == (expected,)


def test_a_part_of_the_data_is_a_data_set_of_its_own() -> None:
    """A limited run that does better by luck is neither a baseline nor a choice of the whole."""
    whole, part = {"dataset.limit": None}, {"dataset.limit": 40}
    names = [run(each).dataset for each in (whole, part, {})]
    assert names == ["d", "d_limit40", "d"]
    runs = [run(whole, best_val_acc=0.5), run(part | {"optim.lam": 0.2}, best_val_acc=0.9),
            dense(whole | {"accuracy": 0.6}), dense(part | {"accuracy": 1.0})]  # fmt: skip
    assert [list(sweep.groups) for sweep in sweeps(runs, "d")] == [[0.1]]
    assert [group.runs for group in dense_groups(runs, "d")] == [(runs[2],)]
    found = baseline(runs, runs[1])
    assert found is not None
    assert found.runs == (runs[3],)


def test_fewer_different_settings_are_closer() -> None:
    """One setting of data, network or trainer counts like another."""
    like = {f"{group}.{key}": 0 for group in ("dataset", "model", "trainer") for key in "ab"}
    for near, far in (
        ({"dataset.a": 1}, {"dataset.a": 1, "dataset.b": 1}),
        ({"model.a": 1}, {"model.a": 1, "trainer.a": 1}),
        ({"trainer.a": 1}, {"trainer.a": 1, "model.b": 1}),
    ):
        close, distant = dense(like | near), dense(like | far | {"accuracy": 0.9})
        found = baseline([distant, close], run(like))
        assert found is not None
        assert found.runs == (close,)


def test_adamw_is_adam_and_other_data_is_no_baseline() -> None:
    weak, strong = ({"optim.name": name, "accuracy": a} for name, a in (("adamw", 0.1), ("sgd", 1)))
    found = baseline([dense(strong), dense(weak)], run({}))
    assert found is not None
    assert found.runs[0].settings["optim.name"] == "adamw"
    assert baseline([dense({"dataset.name": "e"})], run({})) is None
    assert baseline([run({}), run({"optim.lam": 0})], run({})) is None  # lambda = 0 is a sweep's
    assert baseline([run({"optim.lam": None}, status="interrupted")], run({})) is None


def test_repetitions_are_the_same_seed_fold_and_settings() -> None:
    place = {"dataset.fold": 0, "seed": 0, "dataset.root": "/a"}
    others = ({}, {"seed": 1}, {"dataset.fold": 1}, {"seed": 1, "dataset.fold": 1}, {"optim.lr": 2})
    kept = [run(place | other, 1.0) for other in others]
    assert newest(kept) == kept
    later = run(place | {"dataset.root": "/b"}, 2.0)  # where the data lies is no setting
    unfinished = [run(place, time, status="unfinished") for time in (3.0, 4.0)]
    assert newest([*unfinished, *kept]) == kept
    assert newest([*kept, later, *unfinished]) == [later, *kept[1:]]
    assert newest([later, *kept]) == [later, *kept[1:]]
    assert newest(unfinished) == newest(unfinished[::-1]) == [unfinished[1]]
    diverged = run(place, 5.0, status="diverged")  # it has ended, too
    assert newest([*kept, diverged]) == [diverged, *kept[1:]]


def test_pairs_share_seed_and_fold(make: Make) -> None:
    def group(lam: float | None, places: list[tuple[int, int]], without: tuple[int, int]) -> Group:
        return Group({}, tuple(
            read_run(make({"optim.lam": lam, "seed": seed, "dataset.fold": fold},
                          predictions={} if (seed, fold) != without else None))
            for seed, fold in places
        ))  # fmt: skip

    sparse = group(0.1, [(0, 1), (0, 0), (1, 0), (2, 2), (3, 3)], (2, 2))
    others = group(None, [(0, 0), (1, 1), (0, 1), (2, 2), (3, 3), (1, 0)], (3, 3))
    pairs = paired_runs(sparse, others)
    assert [((a.seed, a.fold), (b.seed, b.fold)) for a, b in pairs] == [
        ((0, 1), (0, 1)), ((0, 0), (0, 0)), ((1, 0), (1, 0)),
    ]  # fmt: skip
    assert all("optim.lam" in a.settings and "optim.lam" not in b.settings for a, b in pairs)


def every_resample(differences: list[list[int]], asked: list[list[int]], which: str) -> list[float]:
    """Means of all ways to draw runs, samples or both anew, by loops; all are equally likely."""
    runs, samples = range(len(asked)), range(len(asked[0]))
    drawn_runs = itertools.product(runs, repeat=len(runs)) if "runs" in which else [tuple(runs)]
    means = []
    for some in drawn_runs:
        ways = itertools.product(samples, repeat=len(samples)) if "samples" in which else [samples]
        for others in ways:
            right, number = 0, 0
            for r, i in itertools.product(some, others):
                right, number = right + differences[r][i], number + asked[r][i]
            if number:
                means.append(right / number)
    return means


def test_the_interval_is_that_of_all_resamples() -> None:
    """Three runs and four samples: 27 x 256 resamples, not all of which hold a prediction."""
    differences = [[1, 0, 0, -2], [0, 1, 0, 0], [-1, 0, 0, -1]]
    asked = [[1, 1, 0, 2], [0, 1, 0, 1], [2, 0, 1, 1]]
    ends = {
        which: np.percentile(every_resample(differences, asked, which), (2.5, 97.5))
        for which in ("runs and samples", "runs", "samples")
    }
    found = interval(np.array(differences), np.array(asked), 100_000)
    assert found == pytest.approx(ends["runs and samples"], abs=1e-12)
    for which in ("runs", "samples"):  # drawing less would be seen
        assert abs(np.subtract(found, ends[which])).max() > 0.1
