from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnbreg.analysis import (
    Measure,
    Run,
    Table,
    baseline,
    datasets,
    lambda_table,
    main_sweep,
    read_runs,
    sparsest_within,
    summary_sentence,
    sweeps,
    table1,
    table2,
    tables,
)
from snnbreg.analysis.settings import settings_column

Make = Callable[..., Path]


def row(table: Table, *start: Any) -> dict[str, Any]:
    """The row that starts with these cells, by column."""
    (found,) = [r for r in table.rows if tuple(r[: len(start)]) == start]
    return {column.name: cell for column, cell in zip(table.columns, found, strict=True)}


def test_sweeps_are_by_schedule_and_lambda(study: list[Run]) -> None:
    found = sweeps(study, "spoken_digits")
    assert [(s.scheduler, list(s.groups), s.size) for s in found] == [
        ("onecycle", [0.0, 0.1, 1.0], 6),
        ("none", [0.0, 0.1, 1.0], 6),
    ]
    assert main_sweep(study, "spoken_digits", scheduled=False) == found[1]
    assert main_sweep(study, "shd", scheduled=True) is None


def test_lambda_is_chosen_on_validation(study: list[Run], make: Make, tmp_path: Path) -> None:
    sweep = main_sweep(study, "spoken_digits", scheduled=True)
    assert sweep is not None
    assert sweep.chosen() == 1.0  # as good as 0.1, and sparser; 0 is no choice
    make({"optim.lam": 0.5}, summary={"best_val_acc": 0.91, "test_acc": 0.1})
    better = main_sweep(read_runs(tmp_path), "spoken_digits", scheduled=True)
    assert better is not None
    assert better.chosen() == 0.5


def test_a_lambda_that_moves_is_described_instead_of_its_first_value(
    make: Make, tmp_path: Path
) -> None:
    make({"optim.lam": 0.2, "scheduler.lam": None})
    for density in (0.1, 0.05):
        make({"optim.lam": 0.2, "scheduler.lam": {"name": "target", "density": density}})
    make({"optim.lam": 0.2, "scheduler.lam": {"name": "linear", "end": 1.0}})
    make({"optim.lam": 0.2, "scheduler.lam": {"name": "linear", "end": 2.0}})
    runs = read_runs(tmp_path)
    assert {s.label for s in sweeps(runs, "spoken_digits")} == {
        "", "λ steered to 10 %", "λ steered to 5 %",
        "λ linear, lam.end 1.0", "λ linear, lam.end 2.0",
    }  # fmt: skip
    assert [run.lam_words for run in runs[:2]] == ["λ = 0.2", "λ steered to 10 %"]
    assert "AdaBreg at λ" in summary_sentence(runs)


def test_the_largest_sweep_is_shown_and_the_others_are_named(make: Make, tmp_path: Path) -> None:
    for lam in (0.1, 1.0):
        make({"optim.lam": lam})
    make({"optim.lam": 0.1, "model.delay_scale": 40})
    runs = read_runs(tmp_path)
    assert [(list(s.groups), s.label) for s in sweeps(runs, "spoken_digits")] == [
        ([0.1, 1.0], "delay_scale 2.0"),
        ([0.1], "delay_scale 40"),
    ]


def test_the_baseline_is_the_most_similar_dense_one(
    study: list[Run], make: Make, tmp_path: Path
) -> None:
    like = next(run for run in study if run.settings["scheduler.name"] == "none")
    dense = baseline(study, like)
    assert dense is not None
    assert {run.settings["scheduler.name"] for run in dense.runs} == {"none"}
    assert [run.seed for run in dense.runs] == [0, 1]
    best = baseline(study, like, any_schedule=True)
    assert best is not None
    assert {run.settings["scheduler.name"] for run in best.runs} == {"onecycle"}
    make({"optim.lam": None, "dataset.root": "/d", "dataset.name": "shd"})
    make({"optim.lam": None, "dataset.limit": 7}, summary={"best_val_acc": 1.0})
    same_data = baseline(read_runs(tmp_path), like, any_schedule=True)
    assert same_data is not None
    assert same_data.runs[0].dataset == "spoken_digits"


def test_sparsest_within_a_point(study: list[Run], make: Make, tmp_path: Path) -> None:
    assert sparsest_within(study, "spoken_digits", 0.001).settings == {"optim.lam": 0}  # type: ignore[union-attr]
    assert sparsest_within(study, "spoken_digits", 0.021).settings == {"optim.lam": 1}  # type: ignore[union-attr]
    assert sparsest_within([r for r in study if "optim.lam" in r.settings], "spoken_digits") is None


def test_table2_by_hand(study: list[Run]) -> None:
    table = table2(study)
    assert len(table.rows) == 5
    chosen = row(table, "spoken_digits", "AdaBreg", "onecycle")
    assert chosen["λ"] == 1.0
    assert chosen["runs"] == 2
    # seeds: 0.9 +- 0.01 on validation, 0.8 +- 0.02 on test: sqrt(2) of that as deviation
    for name, mean, deviation in (
        ("validation", 0.9, 0.01), ("test", 0.8, 0.02), ("test, deployed", 0.7, 0.0),
        ("density", 0.25, 0.0), ("non-zero", 9.0, 0.0),
    ):  # fmt: skip
        assert chosen[name].mean == pytest.approx(mean)
        assert chosen[name].deviation == pytest.approx(deviation * 2**0.5)
    adam = row(table, "spoken_digits", "Adam", "none")
    assert adam["test"].mean == pytest.approx(0.72)
    assert adam["λ"] is None
    sparse = row(table, "spoken_digits", "AdaBreg, sparsest*")
    assert sparse["density"].mean == 1.0  # only lambda = 0 is within a point here
    assert "paper" not in chosen


def test_table2_quotes_the_paper(make: Make, tmp_path: Path) -> None:
    for name in ("shd", "ssc"):
        make({"dataset.name": name, "optim.lam": None})
        make({"dataset.name": name})
        make({"dataset.name": name, "scheduler.name": "none"})
    runs = read_runs(tmp_path)
    assert datasets(runs) == ["shd", "ssc"]
    quoted = [r[-1] for r in table2(runs).rows if "sparsest" not in str(r[1])]
    assert quoted == ["93.39", "92.98", "92.28", "82.58", "81.86", "80.67"]


def test_runs_that_did_not_end_do_not_count(study: list[Run], make: Make, tmp_path: Path) -> None:
    make({"optim.lam": 0.1, "seed": 9}, summary={"status": "interrupted", "test_acc": 0.0})
    make({"optim.lam": 1, "seed": 9}, summary={"status": "diverged"})
    table = lambda_table(read_runs(tmp_path), "spoken_digits")
    assert row(table, 0.1, "AdaBreg", "onecycle")["runs"] == 2
    diverged = row(table, 1.0, "AdaBreg", "onecycle")
    assert (diverged["runs"], diverged["diverged"]) == (3, 1)


def test_lambda_table_has_every_group(study: list[Run]) -> None:
    table = lambda_table(study, "spoken_digits")
    assert [r[0] for r in table.rows] == [None, None, 0.0, 0.1, 1.0, 0.0, 0.1, 1.0]
    half = row(table, 0.1, "AdaBreg", "none")
    assert half["density of all"] == Measure(pytest.approx(32 / 50), 0.0, 2)  # type: ignore[arg-type]
    assert half["last validation"].mean == pytest.approx(0.5 / 1.1)
    assert "settings" not in half
    assert "diverged" not in half
    (rates,) = [column for column in table.columns if column.name == "spikes per neuron and step"]
    assert rates.heading == rates.name  # a fraction, as in metrics.csv
    assert rates.write(half[rates.name]) == "0.0500 ± 0.0000"


def test_table1_reads_the_networks(study: list[Run]) -> None:
    assert table1(study).rows == [["spoken_digits", 3, "4†", 2, 36, 50]]


def test_summary_sentence(study: list[Run]) -> None:
    text = summary_sentence(study).replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "On spoken_digits, AdaBreg at λ = 1 keeps 25.0 ± 0.0 % of the weights and classifies 80.0 "
        "± 2.8 % of the test recordings correctly (70.0 ± 0.0 % as deployed; 2 seeds); dense Adam "
        "reaches 82.0 ± 2.8 % (72.0 ± 0.0 % as deployed; 2 seeds). AdaBreg is shown at λ = 1: of 2 "
        "values of λ it has the best mean validation accuracy, 90.00 % over 2 seeds; next is "
        "λ = 0.1 with 90.00 % over 2 seeds (equal, so the sparser one counts)."
    )


def test_why_a_lambda_is_shown(make: Make, tmp_path: Path) -> None:
    make({"optim.lam": 0.1}, summary={"best_val_acc": 0.8, "test_acc": 0.9})
    alone = table2(read_runs(tmp_path)).notes[-1]
    assert alone == (
        "spoken_digits, onecycle: AdaBreg is shown at λ = 0.1, the only one there (1 seed)."
    )
    for seed, error in ((0, 0.04), (1, 0.02)):
        make({"optim.lam": 0.2, "seed": seed}, summary={
            "measure": "mse", "higher_is_better": False, "select": "deployed",
            "best_val_mse": 1.0, "best_deployed_val_mse": error, "test_mse": 1.0})  # fmt: skip
    make({"optim.lam": 0.3}, summary={
        "measure": "mse", "higher_is_better": False, "select": "deployed",
        "best_val_mse": 0.5, "best_deployed_val_mse": 0.05, "test_mse": 0.1})  # fmt: skip
    assert table2(read_runs(tmp_path), "mse").notes[-1] == (
        "spoken_digits_mse, onecycle: AdaBreg is shown at λ = 0.2: of 2 values of λ it has the "
        "best mean deployed validation mean squared error, 0.03 over 2 seeds; next is λ = 0.3 with "
        "0.05 over 1 seed."
    )


def test_tables_say_in_what_their_rows_differ(make: Make, tmp_path: Path) -> None:
    """Short trials beside whole runs, of both kinds, and two sets of rules."""
    for epochs, more in ((3, {}), (30, {"optim.rules": ["x" * 30]}), (30, {"optim.rules": []})):
        make({"trainer.epochs": epochs, "optim.lam": None})
        make({"trainer.epochs": epochs, "optim.lam": 0.1, "optim.lr": 0.02, **more})
    runs = read_runs(tmp_path)
    names = [column.name for column in table2(runs).columns]
    assert "settings" in names
    table = lambda_table(runs, "spoken_digits")
    place = [column.name for column in table.columns].index("settings")
    told = [(str(r[1]), r[place]) for r in table.rows]
    assert sorted(told) == [
        ("AdaBreg", "epochs 3, lr 0.02"),
        ("AdaBreg", "epochs 30, lr 0.02, rules #1"),
        ("AdaBreg", "epochs 30, lr 0.02, rules []"),
        ("Adam", "epochs 3, lr 0.01"),
        ("Adam", "epochs 30, lr 0.01"),
    ]


def test_sparsifiers_are_told_apart_and_the_settings_of_each(make: Make, tmp_path: Path) -> None:
    kinds = [("gmp", 0.1, {"start": 1}), ("gmp", 0.2, {"start": 1}), ("set", 0.1, {"zeta": 3})]
    for name, density, more in kinds:
        make({"optim.lam": None, "optim.sparsifier": {"name": name, "density": density, **more}})
    describe = settings_column(read_runs(tmp_path))
    assert [describe(run) for run in read_runs(tmp_path)] == [
        "sparsifier.name gmp, sparsifier.density 0.1",
        "sparsifier.name gmp, sparsifier.density 0.2",
        "sparsifier.name set, sparsifier.density 0.1",
    ]


def test_of_several_sweeps_it_is_said_which_one_is_shown(make: Make, tmp_path: Path) -> None:
    for settings in ({"optim.lam": 0.1}, {"optim.lam": 0.2}, {"optim.lr": 0.5}):
        make(settings)
    make({"scheduler.name": "none"})  # another panel
    note = table2(read_runs(tmp_path)).notes[-2]
    assert note.startswith(
        "spoken_digits, onecycle: AdaBreg is shown at λ = 0.1, from the largest "
    )
    assert "of 2 sweeps" in note


def test_lengths_that_no_column_tells_are_in_a_note(make: Make, tmp_path: Path) -> None:
    for delays, epochs in (("axonal", 30), ("none", 3)):
        make({"optim.lam": None, "model.delays": delays, "trainer.epochs": epochs})
    notes = {t.name: t.notes[-1] for t in tables(read_runs(tmp_path), ["delays", "lambda"])}
    assert notes["delays_spoken_digits"] == (
        "spoken_digits: its runs were trained for 3, 30 epochs, and rows may differ in that."
    )
    assert "epochs" not in notes["lambda_spoken_digits"]


def test_another_length_of_training_is_said_in_the_sentence(make: Make, tmp_path: Path) -> None:
    make({"trainer.epochs": 3})
    make({"trainer.epochs": 30, "optim.lam": None})
    text = summary_sentence(read_runs(tmp_path))
    assert ", trained for 30 epochs instead of 3. AdaBreg is shown" in text


def test_a_limit_is_flagged_below_its_tables(study: list[Run], make: Make, tmp_path: Path) -> None:
    make({"dataset.limit": 40})
    found = {t.name: t for t in tables(read_runs(tmp_path), ["table2", "lambda"])}
    flag = "spoken_digits_limit40: a trial, with dataset.limit=40"
    flagged = [name for name, table in found.items() if flag in " ".join(table.notes)]
    assert flagged == ["table2", "lambda_spoken_digits_limit40"]
    assert len(found["lambda_spoken_digits"].rows) == 8
    assert not any("trial" in note for table in tables(study, ["table2"]) for note in table.notes)
