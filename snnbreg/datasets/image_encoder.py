"""From intensities to what a network sees: once, as a current or as spikes.

Legend: T0 rows of pixels a batch comes with (1 for whole images), T time steps, B batch, C pixels
per step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ENCODERS = ("image", "none", "rate", "latency", "delta")


@dataclass(frozen=True)
class ImageEncoder:
    """Turns intensities into a sequence of T steps.

    * ``image``: the intensities once (T = 1), less ``mean`` and divided by ``std``;
    * ``none``: the intensities at every step, a constant current;
    * ``rate``: a spike with the intensity as probability, at each step anew;
    * ``latency``: one spike per pixel, the brighter the earlier: at step (T - 1)(1 - intensity),
      rounded; pixels below ``threshold`` are silent;
    * ``delta``: the image is read row by row (T = rows), with a spike of +1 where a pixel is
      brighter than the one above it by ``threshold`` or more, -1 where it is darker by as much;
      the first row is silent.

    Args:
        kind: one of these.
        steps: T; ``image`` has 1 and ``delta`` the image's rows instead.
        threshold: of ``latency`` and ``delta``, in units of the full intensity.
        mean, std: of ``image``, in these units; one for each colour or one for all.

    Raises:
        ValueError: if an argument is impossible.

    Reference: Eshraghian et al. 2023, arXiv 2109.12894, section III; ``snntorch.spikegen``.

    Example:
        >>> ImageEncoder("none", 3)(torch.tensor([[[0.5, 1.0]]]), seed=0).tolist()
        [[[0.5, 1.0]], [[0.5, 1.0]], [[0.5, 1.0]]]
    """

    kind: str = "rate"
    steps: int = 25
    threshold: float = 0.1
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.kind not in ENCODERS:
            raise ValueError(
                f"dataset.encoder must be one of {', '.join(ENCODERS)}, got {self.kind!r}"
            )
        least = 2 if self.kind == "latency" else 1
        if self.steps < least:
            raise ValueError(
                f"dataset.steps must be {least} or more for the encoder {self.kind}, "
                f"got {self.steps}"
            )
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"dataset.threshold must lie between 0 and 1, got {self.threshold}")
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ValueError(
                "dataset.mean and dataset.std need as many values, one for each colour or one for "
                f"all, and std positive ones, got {list(self.mean)} and {list(self.std)}"
            )

    @property
    def random(self) -> bool:
        """Whether it draws random numbers."""
        return self.kind == "rate"

    def steps_of(self, rows: int) -> int:
        """Return T for frames with T0 = ``rows``."""
        return {"delta": rows, "image": 1}.get(self.kind, self.steps)

    def __call__(self, frames: Tensor, seed: int) -> Tensor:
        """Encode a batch.

        Args:
            frames: float (T0, B, C) in [0, 1]; T0 = 1 except for ``delta``.
            seed: of ``rate``, which is a pure function of it on one kind of device; the global
                generators are left as they were.

        Returns:
            float32 (T, B, C).
        """
        if self.kind == "image":
            return self._normalised(frames)
        if self.kind == "none":
            return frames.repeat(self.steps, 1, 1)
        from snntorch import spikegen

        if self.kind == "delta":
            return spikegen.delta(frames, threshold=self.threshold, padding=True, off_spike=True)
        if self.kind == "latency":
            return spikegen.latency(
                frames[0],
                num_steps=self.steps,
                threshold=self.threshold,
                linear=True,
                normalize=True,
                clip=True,
            )
        devices = [frames.device] if frames.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            return spikegen.rate(frames[0], num_steps=self.steps)

    def _normalised(self, frames: Tensor) -> Tensor:
        if frames.shape[2] % len(self.mean):
            raise ValueError(
                f"dataset.mean has {len(self.mean)} values, which do not fit images of "
                f"{frames.shape[2]} values: give one for each colour, or one for all"
            )
        colours = frames.unflatten(2, (len(self.mean), -1))
        mean, std = (torch.tensor(v, device=frames.device)[:, None] for v in (self.mean, self.std))
        return (colours - mean).div_(std).flatten(2)
