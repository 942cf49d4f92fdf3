from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml

from snnbreg.analysis import read_run
from snnbreg.analysis.commands import sweep_commands

Make = Callable[..., Path]


def commands(make: Make, rows: Iterable[Sequence[str]]) -> list[str]:
    runs = []
    for row in rows:
        folder = make()
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(row)))
        runs.append(read_run(folder))
    return sweep_commands(runs)


def test_a_full_grid_is_one_command(make: Make) -> None:
    grid = itertools.product(["lam=10", "lam=0.5", "lam=2"], ["seed=1", "seed=0"], ["epochs=3"])
    assert commands(make, grid) == ["snnbreg train -m lam=0.5,2,10 seed=0,1 epochs=3"]
    assert commands(make, [["model.hidden=[8,8]"]]) == ["snnbreg train 'model.hidden=[8,8]'"]
    assert commands(make, [[]]) == []


def test_every_run_is_in_exactly_one_command(make: Make) -> None:
    grid = list(
        itertools.product(["lam=1", "lam=2", "lam=5"], ["s=a", "s=b"], ["seed=0", "seed=1"])
    )
    rows = [*grid[:-1], ("optim=adam", "seed=0")]
    found = commands(make, rows)
    assert len(found) == 4
    trained = []
    for command in found:
        options = [word.partition("=") for word in shlex.split(command) if "=" in word]
        trained += itertools.product(*([f"{n}={v}" for v in vs.split(",")] for n, _, vs in options))
    assert sorted(trained) == sorted(tuple(row) for row in rows)
