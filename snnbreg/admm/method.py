"""ADMM as a method of training: a state of its own, block updates, no gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from snnbreg.admm import blocks, figures, published
from snnbreg.admm.equations import Neuron, Penalties, drive
from snnbreg.admm.figures import Task
from snnbreg.admm.remedies import balanced
from snnbreg.admm.variables import Batch, Processes, Variables
from snnbreg.admm.weights import Gram, Senders
from snnbreg.optim.regularizers import get_regularizer

CHOICES = {
    "form": ("fast", "published"),
    "multipliers": ("last", "all"),
    "solver": ("fista", "bregman"),
    "init": ("uniform", "network"),
}


@runtime_checkable
class PlainNetwork(Protocol):
    """Offered by networks that may be layers of plain LIF neurons, see ``snnbreg.models``."""

    def plain_lif(self) -> tuple[Sequence[Tensor], float, float]:
        """Weights by layer, leak and threshold of all neurons, which are reset softly."""


class ADMM:
    """Alternating direction steps with closed-form updates, see ``equations``.

    One epoch is one sweep over all variables, in which all samples count alike: batches bound the
    memory that a step needs and change nothing else. They have to be the same in every epoch.

    Args:
        network: offers ``plain_lif``, see ``snnbreg.models.SpikingNetwork``.
        task: scores the simulated network on the training samples.
        processes: of the run; each holds its own samples of every batch.
        epochs: of the whole run.
        form: ``"fast"`` (all steps of a block in one product) or ``"published"`` (step by step,
            in a random order).
        rho: weight of the membranes' squared residuals.
        rho_output: the same of the output layer; None for ``rho``.
        beta: weight of the spikes' squared residuals.
        ridge: added to the diagonal of the weights' Gram matrices; 0: pseudo-inverse.
        warmup: share of the epochs in which the dual variable stays zero.
        multipliers: ``"last"``: the output layer's constraint has one at the last step, as
            published; ``"all"``: at every step.
        stale: the published order takes the reset's wish from the membranes before the sweep.
        lam: strength of the weights' regulariser, beside the mean over samples and steps of the
            squared residual / 2.
        regularizer: a name of ``snnbreg.optim.regularizers``.
        solver: of the weights with a regulariser, ``"fista"`` or ``"bregman"``.
        solver_steps: its steps in every sweep.
        init: ``"uniform"`` states in [0, 1), as published, or those of the ``"network"`` as it is.
        balance: where one of two residuals is more than so many times the other, beta and the
            output layer's rho are doubled or halved; 0: they stay.
        memory_gb: variables that need more lie in memory-mapped files.

    Raises:
        ValueError: for a setting out of range, or a network that ADMM cannot train.

    Reference: Perin et al. 2025, https://arxiv.org/abs/2505.05527
    """

    same_batches = True
    """Every epoch gets the batches of the first one: the variables belong to their samples."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        processes: Processes,
        epochs: int,
        form: str = "fast",
        rho: float = 1.0,
        rho_output: float | None = None,
        beta: float = 0.1,
        ridge: float = 1.0,
        warmup: float = 0.3,
        multipliers: str = "last",
        stale: bool = False,
        lam: float = 0.0,
        regularizer: str = "l1",
        solver: str = "fista",
        solver_steps: int = 30,
        init: str = "uniform",
        balance: float = 0.0,
        memory_gb: float = 8.0,
    ) -> None:
        output = rho if rho_output is None else rho_output
        _check(form=form, multipliers=multipliers, solver=solver, init=init)
        _check_positive(rho=rho, rho_output=output, beta=beta, solver_steps=solver_steps)
        if min(ridge, lam, warmup, balance) < 0:
            raise ValueError("ridge, lam, warmup and balance must not be negative")
        if not isinstance(network, PlainNetwork):
            raise ValueError("ADMM trains networks that offer plain_lif, such as that of model=lif")
        weights, leak, threshold = network.plain_lif()
        self.weights = [weight.detach() for weight in weights]  # the same memory
        self.neuron = Neuron(leak, threshold, leak * threshold)
        self.hidden = len(self.weights) - 1
        self.penalties = Penalties([rho] * self.hidden + [output], beta)
        self.task, self.processes, self.form, self.stale = task, processes, form, stale
        self.every_step, self.warmup = multipliers == "all", warmup * epochs
        self.ridge, self.lam, self.solver = ridge, lam, solver
        self.solver_steps, self.balance = solver_steps, balance
        self.prox = get_regularizer(regularizer, self.weights[0].shape).prox
        self.variables = Variables(
            self.weights, self.neuron, processes, init, memory_gb * 1e9, sparse=form == "fast"
        )
        self.duals = [torch.zeros_like(weight, dtype=torch.float64) for weight in self.weights]
        self._input_gram: Gram | None = None

    # -- one sweep -----------------------------------------------------------------------------

    @torch.no_grad()
    def epoch(
        self, number: int, batches: Iterable[tuple[Tensor, Tensor]], done: Callable[[], object]
    ) -> dict[str, float]:
        """One sweep: hidden layers in a random order, then the output layer and the dual.

        Args:
            number: of the epoch, from 0.
            batches: looked at in the first epoch of this process alone.
            done: called once per batch.
        """
        if not self.variables.batches:
            self.variables.start(batches)
        order = torch.randperm(max(len(b.dual) for b in self.variables.batches) - 1)
        for layer in torch.randperm(self.hidden).tolist():
            self._fit_weights(layer)
            for batch in self.variables.batches:
                self._update_hidden(layer, batch, order[order < len(batch.dual) - 1])
        self._fit_weights(self.hidden)
        for batch in self.variables.batches:
            self._update_output(batch, order[order < len(batch.dual) - 1], number >= self.warmup)
        row = self._measured()
        self.variables.gather()
        for _ in self.variables.batches:
            done()
        return row

    def _fit_weights(self, layer: int) -> None:
        """W of one layer, from sums over the samples of all batches and processes."""
        weight = self.weights[layer]
        gram = self._input_gram if layer == 0 and self.form == "fast" else None
        products = torch.zeros_like(weight, dtype=torch.float64)
        matrix = weight.new_zeros((weight.shape[1],) * 2, dtype=torch.float64)
        terms = torch.zeros((), dtype=torch.float64)
        for batch in self.variables.batches:
            senders = self._senders(layer, batch)
            products += senders.products(self._wanted(layer, batch))
            terms += batch.dual.shape[0] * batch.dual.shape[1]
            if gram is None:
                matrix += senders.gram()
        self.processes.add(products, terms, *([matrix] if gram is None else []))
        if gram is None:
            gram = Gram(matrix, self.ridge)
        if layer == 0:
            self._input_gram = gram
            for batch in self.variables.batches:
                batch.current = None
        weight.copy_(self._solved(layer, gram, products, self.lam * float(terms)))

    def _solved(self, layer: int, gram: Gram, products: Tensor, lam: float) -> Tensor:
        if lam == 0:
            return gram.solve(products)
        if self.solver == "fista":
            start = self.weights[layer].double()
            return gram.fista(products, start, lam, self.prox, self.solver_steps)
        weight, self.duals[layer] = gram.bregman(
            products, self.duals[layer], lam, self.prox, self.solver_steps
        )
        return weight

    def _update_hidden(self, layer: int, batch: Batch, order: Tensor) -> None:
        above, weight = self._wanted(layer + 1, batch), self.weights[layer + 1]
        current = self._current(layer, batch)
        z, a = self._to_device(batch.z[layer]), self._to_device(batch.a[layer])
        rest = (layer, self.neuron, self.penalties)
        if self.form == "fast":
            a = blocks.spikes(above, weight, z, current, *rest)
            z = blocks.membranes(z, a, current, *rest)
        else:
            step = functools.partial(published.hidden_steps, stale=self.stale)
            z, a = step(above, weight, z, a, current, layer, order, self.neuron, self.penalties)
        batch.z[layer].copy_(z)
        batch.a[layer].copy_(a)

    def _update_output(self, batch: Batch, order: Tensor, free: bool) -> None:
        current, dual = self._current(self.hidden, batch), self._to_device(batch.dual)
        rho, leak = self.penalties.rho[-1], self.neuron.leak
        if self.form == "fast":
            z = blocks.output_membranes(current, dual, batch.target, leak, rho)
        else:
            z = self._to_device(batch.z[-1])
            z = published.output_steps(z, current, dual, batch.target, order, leak, rho)
        batch.z[-1].copy_(z)
        if free:
            residual = drive(z, None, self.neuron) - current
            first = 0 if self.every_step else len(z) - 1
            batch.dual[first:].add_(residual[first:].to(batch.dual), alpha=rho)

    # -- what the blocks need ------------------------------------------------------------------

    def _senders(self, layer: int, batch: Batch) -> Senders:
        return batch.frames if layer == 0 else Senders(self._to_device(batch.a[layer - 1]))

    def _current(self, layer: int, batch: Batch) -> Tensor:
        """W a of one layer; that of the frames is kept as long as the weights stay."""
        if layer > 0:
            return self._senders(layer, batch).current(self.weights[layer])
        if batch.current is None:
            batch.current = batch.frames.current(self.weights[0])
        return batch.current

    def _wanted(self, layer: int, batch: Batch) -> Tensor:
        """What the current of a layer should be."""
        z = self._to_device(batch.z[layer])
        if layer < self.hidden:
            return drive(z, self._to_device(batch.a[layer]), self.neuron)
        dual = self._to_device(batch.dual)
        return drive(z, None, self.neuron).add_(dual, alpha=1 / self.penalties.rho[-1])

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.weights[0].device)

    # -- figures and state ---------------------------------------------------------------------

    def _measured(self) -> dict[str, float]:
        """The epoch's columns; accuracy and loss are those of the simulated network."""
        total = torch.zeros(6 + 2 * self.hidden + 1, dtype=torch.float64)
        for batch in self.variables.batches:
            z, a = ([self._to_device(x) for x in some] for some in (batch.z, batch.a))
            here = replace(batch, z=z, a=a, dual=self._to_device(batch.dual))
            currents = [self._current(layer, batch) for layer in range(self.hidden + 1)]
            total += figures.batch_sums(here, currents, self.weights, self.neuron, self.task)
        self.processes.add(total)
        row = figures.row(total, [len(w) for w in self.weights], self.penalties, self.task)
        if self.balance:
            self._balance(row)
        return {**row, "lam": self.lam}

    def _balance(self, row: Mapping[str, float]) -> None:
        """Strengthen or weaken the penalties whose residuals stand out."""
        hidden = max(row[f"residual/{layer}"] for layer in range(self.hidden))
        spikes = max(row[f"spike_residual/{layer}"] for layer in range(self.hidden))
        output = row[f"residual/{self.hidden}"]
        self.penalties.beta = balanced(self.penalties.beta, spikes, hidden, self.balance)
        self.penalties.rho[-1] = balanced(self.penalties.rho[-1], output, hidden, self.balance)

    def state_dict(self) -> dict[str, Any]:
        """The variables of all samples, the penalties, and the dual variables of the weights."""
        penalties = {"rho": list(self.penalties.rho), "beta": self.penalties.beta}
        return {"admm": {"batches": self.variables.state(), "duals": self.duals, **penalties}}

    def load_state_dict(self, state: Mapping[str, Any], source: str) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: it was made with another method.
        """
        if "admm" not in state:
            raise ValueError(f"{source} was made with another method than ADMM")
        saved = state["admm"]
        self.penalties = Penalties(list(saved["rho"]), saved["beta"])
        self.duals = [
            dual.to(w.device) for dual, w in zip(saved["duals"], self.weights, strict=True)
        ]
        self.variables.loaded = saved["batches"] or None


def _check(**choices: str) -> None:
    for option, value in choices.items():
        if value not in CHOICES[option]:
            raise ValueError(f"{option}={value!r} is unknown: choose one of {CHOICES[option]}")


def _check_positive(**numbers: float) -> None:
    for option, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{option}={value} must be positive")
