"""Say which words a trained network hears in recordings."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from snnbreg import assembly
from snnbreg.audio import TAIL, read_sound, spikes_of
from snnbreg.audio.membrane import RATE
from snnbreg.datasets import FrameLoader, SpeechDataset
from snnbreg.training.evaluation import evaluation_mode
from snnbreg.training.network import hard_delays_of

OTHERS = 3
"""How many other words an answer names, the likeliest first."""


class Listener:
    """A run's network with what it takes to show it a recording.

    Args:
        folder: run folder.
        evaluation: ``deployed`` (whole delays, sigma 0) or ``published`` (the current sigma).

    Raises:
        FileNotFoundError: there is no run with a checkpoint.
        ValueError: it was not trained to tell words apart.
    """

    def __init__(self, folder: str, evaluation: str = "deployed") -> None:
        run = assembly.load_run(folder)
        config = assembly.check(run.config, saved=True)
        self.network, self.task = run.network, assembly.build_task(config)
        self.dataset = assembly.build_dataset(config)
        self.words = run.folder.read_classes()
        self.sigma = 0.0 if evaluation == "deployed" else None
        if not isinstance(self.dataset, SpeechDataset):
            raise ValueError(
                f"The run {folder} was trained on {config['dataset']['name']}, not on spoken words:"
                " snnbreg predict needs one of dataset=audio, spoken_digits, shd or another of "
                "their kind"
            )

    def answer(self, path: str) -> dict[str, Any]:
        """What is heard in a recording: ``file, class, probability, others``; or ``file, error``.

        ``note`` is there where the recording is longer than what the network was trained to hear.
        """
        seconds = self.dataset.duration_ms / 1000 - TAIL
        try:
            lasts = len(read_sound(path)) / RATE
            times, units = spikes_of(Path(path), seconds=seconds)
        except (OSError, ValueError) as error:
            return {"file": path, "error": str(error)}
        if not len(times):
            return {"file": path, "error": f"{path}: the cochlea hears nothing in it"}
        recording = self.dataset.frames_of(times, units)
        frames, _ = next(iter(FrameLoader(recording, 1).epoch(0)))
        with evaluation_mode(self.network), hard_delays_of(self.network, self.sigma):
            found = self.task.probabilities(self.network(frames))[0].tolist()
        answer = {"file": path, **self._named(found)}
        if lasts > seconds:
            answer["note"] = f"of {lasts:.2f} s, the first {seconds:g} s are heard"
        return answer

    def _named(self, probabilities: list[float]) -> dict[str, Any]:
        words = self.words or [str(k) for k in range(len(probabilities))]
        pairs = sorted(zip(probabilities, words, strict=True), key=lambda pair: -pair[0])
        (probability, word), *others = [(round(p, 4), word) for p, word in pairs[: OTHERS + 1]]
        return {"class": word, "probability": probability, "others": {w: p for p, w in others}}


def run(options: Namespace) -> int:
    """Print one JSON object per file; returns 1 where one could not be heard."""
    listener = Listener(options.folder, options.evaluation)
    failed = 0
    for path in options.files:
        answer = listener.answer(path)
        failed |= "error" in answer
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    return int(failed)
