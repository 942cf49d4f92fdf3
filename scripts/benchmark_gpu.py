"""Time the GPU engine: layers, training steps of whole networks, several runs side by side.

    python scripts/benchmark_gpu.py [--repeats 20] [--output FILE.json]

Needs a CUDA device and Triton. Run ``pytest tests/kernels`` on the device first: this script does
not check results. Forms:

    exact, tf32, bfloat16   engine=triton with the three precisions of its products
    gather                  a Triton kernel that sums the last K spikes in each step, as the
                            published code does (``baselines/gather.py``)
    reference               the readable form, ``snnbreg.functional``

Times are medians, in milliseconds, compilation left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from snnbreg import functional
from snnbreg.models import SpikingNetwork

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import clock  # the other benchmark's clock

PRECISIONS = {"exact": "highest", "tf32": "high", "bfloat16": "medium"}
FORMS = (*PRECISIONS, "gather", "reference")
LAYERS = ((250, 128, 256), (250, 256, 256), (784, 256, 64), (784, 256, 212))
"""Steps, batch, neurons: of SSC's layers and PSMNIST's."""
NETWORKS: dict[str, dict[str, Any]] = {
    "SSC": {"T": 250, "inputs": 140, "outputs": 35, "hidden": (256, 256, 256)},
    "PSMNIST": {"T": 784, "inputs": 1, "outputs": 10, "hidden": (64, 212, 212)},
}
RUNS = (1, 2, 4, 8)
"""Numbers of runs side by side."""
Row = dict[str, Any]


@contextmanager
def form(name: str) -> Iterator[Any]:
    """The engine that stands for a form, and its precision while the block runs."""
    from baselines import gather

    from snnbreg.kernels import gpu

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(PRECISIONS.get(name, "highest"))
    gathering = SimpleNamespace(delayed_recurrence=gather.delayed_recurrence, lif=gpu.lif)
    engine = {"gather": gathering, "reference": functional}.get(name, gpu)
    try:
        with patch("snnbreg.models.delayed.get_engine", lambda name, device: engine):
            yield engine
    finally:
        torch.set_float32_matmul_precision(before)


def median(run: Callable[[], Any], device: str, repeats: int) -> float:
    """Median time in ms of calls that end when the device is done; two calls go before."""
    return statistics.median([1e3 * clock(run, device)[0] for _ in range(repeats + 2)][2:])


def layer_rows(device: str, size: tuple[int, int, int], repeats: int) -> list[Row]:
    """One recurrent layer by every form: forward without gradients, and a step."""
    T, B, N = size
    generator = torch.Generator().manual_seed(0)
    tensors = [
        0.7 * torch.rand(T, B, N, generator=generator),
        torch.linalg.qr(torch.randn(N, N, generator=generator))[0].contiguous(),
        12 * torch.randn(N, generator=generator).abs(),
        torch.full((N,), 11.0),
    ]
    leaves = [tensor.to(device).requires_grad_() for tensor in tensors]
    weighting = torch.randn(size, generator=generator).to(device)
    rows = []
    for name in FORMS:
        with form(name) as engine:

            def step(engine: Any = engine) -> tuple[Tensor, ...]:
                return torch.autograd.grad(engine.delayed_recurrence(*leaves), leaves, weighting)

            with torch.no_grad():
                inference = median(lambda: engine.delayed_recurrence(*leaves), device, repeats)
                rate = float(engine.delayed_recurrence(*leaves).mean())
            row = {"form": name, "T": T, "B": B, "N": N, "rate": rate, "inference": inference}
            rows.append(row | {"step": median(step, device, repeats)})
    return rows


def training_step(
    device: str, batch: int, T: int, inputs: int, outputs: int, hidden: tuple[int, ...]
) -> Callable[[], Tensor]:
    """A network with an optimizer, as a function that trains it by one batch."""
    network = SpikingNetwork(inputs, outputs, hidden, learn_spread=True).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-5, foreach=True)
    frames = 3 * torch.rand(T, batch, inputs, device=device)
    labels = torch.randint(outputs, (batch,), device=device)

    def step() -> Tensor:
        loss = nn.functional.cross_entropy(network(frames).sum(0), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def network_rows(device: str, name: str, batch: int, repeats: int, **sizes: Any) -> list[Row]:
    """A training step of a whole network by every form."""
    rows = []
    for kind in FORMS:
        with form(kind):
            step = training_step(device, batch, **sizes)
            rows.append({"form": kind, "network": name, "B": batch})
            rows[-1]["step"] = median(step, device, repeats)
    return rows


def parallel_rows(device: str, name: str, batch: int, repeats: int, **sizes: Any) -> list[Row]:
    """Training steps of several networks at once, each in a stream of its own."""
    rows = []
    with form("exact"):
        steps = [training_step(device, batch, **sizes) for _ in range(max(RUNS))]
        streams = [torch.cuda.Stream() if device != "cpu" else None for _ in steps]

        def together(runs: int) -> None:
            for step, stream in zip(steps[:runs], streams, strict=False):
                with torch.cuda.stream(stream) if stream else nullcontext():
                    step()

        for runs in RUNS:
            wall = median(partial(together, runs), device, repeats)
            rows.append({"network": name, "B": batch, "runs": runs, "step": wall})
            rows[-1]["per run"] = wall / runs
    return rows


def table(title: str, rows: list[Row]) -> None:
    """Print rows as a Markdown table, with times relative to the first row's step."""
    columns = [*rows[0], "step / first"]
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        cells = [*row.values(), row["step"] / rows[0]["step"]]
        texts = (f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells)
        print(f"| {' | '.join(texts)} |", flush=True)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, help="write all rows to this file, as JSON")
    options = parser.parse_args()
    device, repeats = "cuda", options.repeats
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    rows = []
    for size in LAYERS:
        rows.append(layer_rows(device, size, repeats))
        table("One layer, T = {}, B = {}, N = {}".format(*size), rows[-1])
    for name, batch in (("SSC", 128), ("PSMNIST", 256)):
        rows.append(network_rows(device, name, batch, repeats, **NETWORKS[name]))
        table(f"A training step of the {name} network", rows[-1])
        rows.append(parallel_rows(device, name, batch, repeats, **NETWORKS[name]))
        table(f"Steps of {name} networks side by side, one stream each", rows[-1])
    if options.output:
        options.output.write_text(json.dumps([row for group in rows for row in group], indent=1))


if __name__ == "__main__":
    main()
