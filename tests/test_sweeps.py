"""Sweeps as a user types them: the launchers, failures, skipping, and folders of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from snnbreg.assembly import swept_folders
from snnbreg.assembly.cli import FailedJobs
from tests_support import ROOT, SMALL_DIGITS

Sweep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Run ``train.py -m`` with small settings into ``tmp_path/sweep``."""
    own = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "HYDRA_FULL_ERROR")}
    environment = own | {"HOME": str(tmp_path), "SNNBREG_CACHE": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "train.py"), "-m", *SMALL_DIGITS, "dataset.epochs=1"]
        return subprocess.run(
            [*command, f"hydra.sweep.dir={tmp_path}/sweep", *arguments],
            capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300,
        )  # fmt: skip

    return run


def table(text: str) -> list[list[str]]:
    """The cells of the table that a sweep ends with, up to the number of runs."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    count = cells[0].index("runs") + 1
    return [row[:count] for i, row in enumerate(cells) if i != 1]


def summaries(tmp_path: Path) -> dict[Path, int]:
    found = (tmp_path / "sweep").glob("*/summary.json")
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_sweep_goes_on_after_failures_and_lists_them(
    sweep: Sweep, tmp_path: Path, launcher: str
) -> None:
    plugin = {"joblib": "joblib_launcher", "submitit_local": "submitit_launcher"}.get(launcher)
    if plugin is not None:
        pytest.importorskip(f"hydra_plugins.hydra_{plugin}")
    launch = [f"hydra/launcher={launcher}"]
    launch += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    done = sweep(*launch, "optim.lr=-1,0.001,-2")
    assert done.returncode == 1
    _, _, listed = done.stderr.partition("2 failed:\n")
    lines = listed.splitlines()
    assert ["Invalid lr: -1.0" in line for line in lines] == [True, False]
    assert ["Invalid lr: -2.0" in line for line in lines] == [False, True]
    assert all("optim.lr--" in line for line in lines)  # the folder
    assert table(done.stdout) == [["runs"], ["1"]]  # nothing varies in what ended
    assert "2 of 3 jobs failed" in done.stdout
    before = summaries(tmp_path)
    assert len(before) == 1
    again = sweep("optim.lr=0.001")  # whoever runs it, the folder is the same
    assert again.returncode == 0, again.stderr
    assert "failed" not in again.stderr + again.stdout
    (folder,) = (path.parent for path in before)
    assert f"Already finished: {folder}\n" in again.stdout
    assert table(again.stdout) == [["runs"], ["1"]]  # of this sweep's jobs alone
    assert summaries(tmp_path) == before


def test_a_sweep_knows_the_folders_of_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four folders, three of them old, the jobs of this sweep had two."""
    monkeypatch.setattr(FailedJobs, "sweep", None)
    monkeypatch.setattr(FailedJobs, "before", {})
    assert swept_folders() == []
    for name in ("finished", "another", ".launcher"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1e9, 1e9))
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    FailedJobs().on_multirun_start(config)
    (tmp_path / "new").mkdir()
    os.utime(tmp_path / ".launcher")
    (tmp_path / "multirun.yaml").write_text("")
    job = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(tmp_path / "finished")}}})
    FailedJobs().on_job_end(job, JobReturn(status=JobStatus.COMPLETED))
    assert swept_folders() == [tmp_path / "finished", tmp_path / "new"]


def test_lambda_is_swept_for_those_alone_that_have_one(sweep: Sweep, tmp_path: Path) -> None:
    plugins = importlib.util.find_spec("hydra_plugins") is not None
    joblib = plugins and importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is not None
    launch = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"] if joblib else []
    done = sweep(*launch, "optim=adam,adabreg", "++optim.lam=0.1,1", "seed=0")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    folders = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    parts = [name.split("__") for name in folders]
    shown = [[part for part in name if part.startswith(("optim-", "optim.lam"))] for name in parts]
    assert shown == [
        ["optim-adabreg", "optim.lam-0.1"],
        ["optim-adabreg", "optim.lam-1"],
        ["optim-adam"],
    ]
    assert len(summaries(tmp_path)) == 3
    assert table(done.stdout) == [
        ["optim", "optim.lam", "runs"],
        ["adabreg", "0.1", "1"],
        ["adabreg", "1", "1"],
        ["adam", "-", "1"],
    ]


def test_each_job_of_joblib_has_its_share_of_the_cores(sweep: Sweep, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    program = tmp_path / "threads.py"
    program.write_text(
        "import hydra, torch\n"
        "from snnbreg import assembly\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(cfg):\n"
        "    with assembly.using_threads({'trainer': {'threads': cfg.threads}}):\n"
        "        open(f'threads{cfg.job}', 'w').write(str(torch.get_num_threads()))\n"
        "main()\n"
    )
    own = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    arguments = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "+job=0,1"]
    subprocess.run(
        [sys.executable, str(program), *arguments, "+threads=null"],
        check=True, capture_output=True, env=own, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    found = [int((tmp_path / f"threads{job}").read_text()) for job in (0, 1)]
    assert found == [max(1, (cores or 1) // 2)] * 2


def test_the_slurm_config_says_what_slurm_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = pytest.importorskip("hydra_plugins.hydra_submitit_launcher.submitit_launcher")
    slurm = pytest.importorskip("submitit.slurm.slurm")
    from hydra.utils import instantiate

    for name in ("srun", "sbatch"):  # submitit looks for them; sbatch receives the script
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho Submitted batch job 17\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(slurm.SlurmJob, "results", lambda self: [json.dumps(self.job_id)])
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        overrides = ["hydra/launcher=slurm", f"hydra.sweep.dir={tmp_path}/sweep"]
        config = compose("config", overrides, return_hydra_config=True)
        config.hydra.job.name = "train"
        array = instantiate(config.hydra.launcher)
    assert isinstance(array, launcher.SlurmLauncher)
    array.setup(hydra_context=None, task_function=None, config=config)
    array.launch([["seed=0"], ["seed=1"]], 0)
    script = (tmp_path / "script").read_text()
    for line in ("--array=0-1%2", "--cpus-per-task=4", "--mem=8GB", "--time=240",
                 "--job-name=snnbreg", "--signal=USR2@120"):  # fmt: skip
        assert f"#SBATCH {line}" in script
    assert "--partition" not in script


def test_folders_are_named_by_config_and_code(tmp_path: Path) -> None:
    from snnbreg.assembly import check, code_version, run_name

    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):

        def name(*overrides: str) -> str:
            return run_name(check(compose("config", list(overrides))), overrides)

        one = name("seed=1", "optim.lam=0.3")
        assert one.startswith("optim.lam-0.3__seed-1__")
        assert one.endswith(f"-{code_version()}")
        assert one == name("optim.lam=0.3", "logger=wandb", "seed=1", "trainer.threads=2")
        assert one == name("optim.lam=0.3", "seed=1", "trainer.progress=false")
        others = [
            name("seed=1", "optim.lam=0.3", change)
            for change in ("trainer.select=deployed", "device=cpu", "dataset.root=/data",
                           "trainer.grad_clip=1", "dataset.epochs=3", "model.engine=reference")
        ]  # fmt: skip
        assert len({one.rsplit("__", 1)[1], *(other.rsplit("__", 1)[1] for other in others)}) == 7
        many = [f"hydra.x{i}={'é/' * 20}" for i in range(20)]
        long = run_name(check(compose("config", [])), [*many, "dataset.root='a b,c'", "seed=0"])
        assert len(long.encode()) < 255
        assert set(long) <= set("-_.+") | set(map(chr, range(48, 58))) | set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        )


def test_the_codes_version_changes_with_its_meaning(tmp_path: Path) -> None:
    from snnbreg.assembly import code_version

    for package in ("optim", "analysis"):
        (tmp_path / package).mkdir()
    file, aside = tmp_path / "optim" / "a.py", tmp_path / "analysis" / "b.py"

    def version(text: str) -> str:
        file.write_text(text)
        code_version.cache_clear()
        return code_version(tmp_path)

    first = version('def f(x):\n    """Text."""\n    return x + 1\n')
    assert first == version("def f(x):\n    return (x + 1)  # a comment\n")
    aside.write_text("y = 1")
    assert first == version("def f(x):\n    return x + 1\n")
    assert first != version("def f(x):\n    return x + 2\n")
    file.rename(tmp_path / "optim" / "c.py")
    code_version.cache_clear()
    assert first != code_version(tmp_path)
    code_version.cache_clear()
