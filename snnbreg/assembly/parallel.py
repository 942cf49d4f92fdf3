"""Many runs, a few at a time, each in a process of its own; stopped and started at will."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snnbreg.assembly.again import run_dir
from snnbreg.runs import RunFolder

TRAIN = (sys.executable, "-m", "snnbreg", "train")
"""The training command, in a process of its own."""
IN_USE = 75
"""Exit code of a run whose folder another process writes (EX_TEMPFAIL of sysexits.h)."""


@dataclass
class Run:
    """A run of a study.

    Attributes:
        name: what to call it.
        folder: its run folder.
        arguments: its overrides, without the folder.
        epochs: of the whole run.
    """

    name: str
    folder: Path
    arguments: Sequence[str]
    epochs: int

    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return RunFolder(self.folder).finished()

    def done(self) -> int:
        """Finished epochs."""
        if self.finished():
            return self.epochs
        try:
            return max(0, RunFolder(self.folder).metrics.read_text().count("\n") - 1)
        except FileNotFoundError:
            return 0


@dataclass
class Study:
    """Runs with their progress.

    Args:
        runs: what to do, in this order.
        command: the training command, without arguments.
        jobs: runs at a time; a new one has the processor's cores / ``jobs`` as threads.
    """

    runs: Sequence[Run]
    command: Sequence[str]
    jobs: int = 1
    failed: dict[str, str] = field(default_factory=dict)

    def fit(self, poll: float = 1.0) -> dict[str, str]:
        """Run what is missing; runs that another process works on are waited for.

        Args:
            poll: seconds between looks.

        Returns:
            The failed runs by name, with the end of what they said.
        """
        self._start, self._before = time.monotonic(), self._epochs()
        waiting = [run for run in self.runs if not run.finished()]
        active: list[tuple[Run, subprocess.Popen[bytes]]] = []
        self._say("start")
        try:
            while waiting or active:
                for run, process in list(active):
                    if process.poll() is not None:
                        active.remove((run, process))
                        if process.returncode == IN_USE:
                            waiting.append(run)
                        else:
                            self._end(run, process.returncode)
                for run in list(waiting):
                    begun = self._begin(run) if len(active) < self.jobs else None
                    if begun is not None:
                        waiting.remove(run)
                        active.append((run, begun))
                waiting = [run for run in waiting if not run.finished()]
                if sys.stderr.isatty():
                    print(f"\r{self.progress():<78}", end="", file=sys.stderr, flush=True)
                time.sleep(poll)
        finally:
            for _, process in active:
                process.terminate()
            for _, process in active:
                process.wait()
        return self.failed

    def progress(self) -> str:
        """Finished runs and epochs, and an estimate of the time left from this session's pace."""
        done, total = self._epochs(), sum(run.epochs for run in self.runs)
        runs = sum(run.finished() for run in self.runs)
        text = f"{runs}/{len(self.runs)} runs, {done}/{total} epochs"
        elapsed, here = time.monotonic() - self._start, done - self._before
        if here > 0 and done < total:
            minutes = round(elapsed * (total - done) / here / 60)
            text += f", about {minutes // 60} h {minutes % 60:02d} min left"
        return text

    def _epochs(self) -> int:
        return sum(run.done() for run in self.runs)

    def _begin(self, run: Run) -> subprocess.Popen[bytes] | None:
        """Start a run, unless another process has it."""
        if RunFolder(run.folder).in_use() or run.finished():
            return None
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        place = [run_dir(run.folder), "trainer.resume=true", "trainer.progress=false"]
        with open(run.folder / "output.txt", "ab") as output:
            return subprocess.Popen(
                [*self.command, *run.arguments, *place],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": threads},
                start_new_session=True,  # Ctrl-C reaches us alone, and we end them once
            )

    def _end(self, run: Run, code: int) -> None:
        if not run.finished():
            said = (run.folder / "output.txt").read_text(errors="replace").strip()
            self.failed[run.name] = said.splitlines()[-1] if said else f"exit code {code}"
            print(f"\n{run.name} failed: {self.failed[run.name]}", file=sys.stderr)
        self._say(run.name)

    def _say(self, name: str) -> None:
        if not sys.stderr.isatty():
            print(f"{self.progress()}; {name}", file=sys.stderr, flush=True)
