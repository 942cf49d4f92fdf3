"""Time the recurrent layer with delays: the engine, the readable form, the published algorithm.

    python scripts/benchmark.py [--device cpu] [--batch 32 128] [--no-scaling] [--output FILE.json]

One layer of the SSC network (T = 250, N = 256, sigma = 10, half-normal delays, spread learned) per
batch size, every form in its own process, one after the other:

    engine     what the layers use, ``snnbreg.kernels``
    reference  the readable form, ``snnbreg.functional``
    window     autograd over a window of the last spikes, one product with W per step
    published  autograd over the published buffer, W times every age in each step

``floor`` is the time of the layer's matrix products alone, by torch, in the same process: W z
forward and W' dI backward in each step, and one product for the gradient of W. Times are the best
of several runs, in milliseconds; memory is what a step adds at its peak. Then a scaling table of
the engine over batch, steps, neurons, delay, spread and firing rate.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnbreg import functional
from snnbreg.kernels import get_engine

sys.path.insert(0, str(Path(__file__).parent))
from baselines.autograd import published_buffer, window_of_spikes

FORMS = ("engine", "reference", "window", "published")
LAYER = {"T": 250, "B": 32, "N": 256, "sigma": 10.0, "delay": 12.0, "drive": 0.7}
"""Steps, batch, neurons, spread, scale of the half-normal delays, largest input current."""
SCALING: dict[str, tuple[float, ...]] = {
    "B": (16, 32, 64, 128, 256),
    "T": (125, 250, 500, 1000),
    "N": (64, 128, 256, 512),
    "delay": (0.01, 12.0, 40.0, 160.0),
    "sigma": (0.0, 1.0, 10.0, 60.0),
    "drive": (0.0, 0.6, 0.8, 3.0),
}
Step = Callable[[], Tensor]


def problem(layer: dict[str, Any], device: str) -> list[Tensor]:
    """Random current, orthogonal weights, delays and half-widths, all with gradients."""
    generator = torch.Generator().manual_seed(0)
    T, B, N = (int(layer[name]) for name in "TBN")
    weight = torch.linalg.qr(torch.randn(N, N, generator=generator))[0]
    tensors = [
        layer["drive"] * torch.rand(T, B, N, generator=generator),
        weight.contiguous(),
        layer["delay"] * torch.randn(N, generator=generator).abs(),
        torch.full((N,), 1.0 + layer["sigma"]),
    ]
    return [tensor.to(device).requires_grad_() for tensor in tensors]


def make_form(form: str, engine: str, device: str) -> Callable[..., Tensor]:
    """A function of the problem's tensors that returns spikes (T, B, N)."""
    if form in ("engine", "reference"):
        chosen = get_engine(engine if form == "engine" else "reference", device)
        return chosen.delayed_recurrence
    baseline = {"published": published_buffer, "window": window_of_spikes}[form]

    def run(current: Tensor, weight: Tensor, delay: Tensor, half_width: Tensor) -> Tensor:
        reach = functional.kernel_length(delay, half_width, len(current))
        return baseline(current, weight, delay, half_width, max(reach, 1) + 1)

    return run


def floor(current: Tensor, weight: Tensor) -> Step:
    """The matrix products of a layer's step, and nothing else."""
    T, B, N = current.shape
    weight, z, out = weight.detach(), torch.rand(N, B).to(weight), torch.empty(N, B).to(weight)
    early, late = torch.rand(2, T * B, N).to(weight)

    def run() -> Tensor:
        for matrix in (weight, weight.T):
            for _ in range(T):
                torch.mm(matrix, z, out=out)
        return late.T @ early

    return run


def clock(run: Step, device: str) -> tuple[float, Tensor]:
    """Seconds of a call, and what it returned."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def peak_memory(device: str) -> float:
    """Highest memory of the process so far, in MB; of the device where there is one."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 2**10 if sys.platform != "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(form: str, engine: str, device: str, layer: dict[str, Any], seconds: float) -> dict:
    """Best times in ms of a layer's forward, backward and step, and of the floor beside it.

    Args:
        form: one of FORMS.
        engine: name of the engine that ``form="engine"`` stands for.
        device: where to compute.
        layer: as LAYER.
        seconds: time to spend, on 3 to 20 runs.

    Returns:
        ``forward``, ``backward``, ``step``, ``inference`` (without gradients), ``floor``,
        ``memory`` in MB and ``rate``, the share of neurons that fire per step.
    """
    run = make_form(form, engine, device)
    small = problem({**layer, "T": 2, "B": 1}, device)
    torch.autograd.grad(run(*small).sum(), small)  # compiles
    tensors = problem(layer, device)
    weighting = torch.randn_like(tensors[0])
    products = floor(*tensors[:2])
    clock(products, device)
    before = peak_memory(device)
    best: dict[str, float] = {}
    start = time.perf_counter()
    for number in range(1, 21):
        forward, spikes = clock(lambda: run(*tensors), device)
        loss = spikes
        backward, _ = clock(
            lambda: torch.autograd.grad(loss, tensors, weighting)[0],  # noqa: B023
            device,
        )
        best.setdefault("memory", peak_memory(device) - before)
        times = {"forward": forward, "backward": backward, "step": forward + backward}
        with torch.no_grad():
            times["inference"] = clock(lambda: run(*tensors), device)[0]
        times["floor"] = clock(products, device)[0]
        for name, value in times.items():
            best[name] = min(best.get(name, float("inf")), 1e3 * value)
        if number >= 3 and time.perf_counter() - start > seconds:  # the first ones fetch memory
            break
    return {**best, "rate": float(spikes.detach().mean())}


def in_own_process(**arguments: Any) -> dict[str, float]:
    """``measure`` in a fresh process, so that forms share neither memory nor caches."""
    command = [sys.executable, __file__, "--worker", json.dumps(arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print(f"{arguments['form']}: {result.stderr.strip().splitlines()[-1]}")
        return {}
    return json.loads(result.stdout)


def machine(device: str) -> str:
    """The processor, the number of threads and the libraries, in one line."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    if device != "cpu":
        name = torch.cuda.get_device_name()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print rows as a Markdown table; numbers with three figures."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        cells = [f"{cell:#.3g}".rstrip(".") if isinstance(cell, float) else cell for cell in row]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All forms at all batch sizes, each against the engine."""
    results = []
    for batch in options.batch:
        layer = {**LAYER, "B": batch}
        found = {
            form: in_own_process(
                form=form, engine=options.engine, device=options.device, layer=layer,
                seconds=options.seconds,
            )
            for form in FORMS
        }  # fmt: skip
        ours, rows = found["engine"], []
        for form, times in found.items():
            if not times:
                continue
            numbers = [times[x] for x in ("forward", "backward", "step", "inference", "memory")]
            ratios = [times["step"] / ours["step"], times["memory"] / max(ours["memory"], 1.0)]
            rows.append([form, *numbers, *ratios, times["step"] / times["floor"]])
            results.append({"form": form, **layer, **times})
        table(
            f"B = {batch}, T = {layer['T']}, N = {layer['N']}, one layer, firing rate "
            f"{ours['rate']:.3f}, floor {ours['floor']:.1f} ms",
            ["form", "forward", "backward", "step", "no gradients", "MB", "time / engine",
             "memory / engine", "step / floor"],
            rows,
        )  # fmt: skip
    return results


def scale(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The engine, one size changed at a time."""
    results = []
    for name, values in SCALING.items():
        for value in values:
            layer = {**LAYER, name: value}
            times = measure("engine", options.engine, options.device, layer, options.seconds / 4)
            results.append({"form": "engine", "changed": name, **layer, **times})
    rows = [
        [f"{r['changed']} = {r[r['changed']]:g}", r["rate"], r["forward"], r["backward"], r["step"],
         r["inference"], r["step"] / r["floor"]]
        for r in results
    ]  # fmt: skip
    columns = ["changed", "rate", "forward", "backward", "step", "no gradients", "step / floor"]
    table("Scaling of the engine from B = 32, T = 250, N = 256", columns, rows)
    return results


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--engine", default="auto", help="engine to measure, see snnbreg.kernels")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seconds", type=float, default=3.0, help="time per form")
    parser.add_argument("--no-scaling", action="store_true", help="leave out the scaling table")
    parser.add_argument("--output", type=Path, help="write all results to this file, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(**json.loads(options.worker))))
        return
    print(machine(options.device))
    results = compare(options)
    if not options.no_scaling:
        results += scale(options)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
