"""ADMM as a method of training: a state of its own, block updates, no gradients."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from snnbreg.admm import blocks, figures, published
from snnbreg.admm.equations import Neuron, Penalties, drive, integrate, simulate
from snnbreg.admm.figures import Task
from snnbreg.admm.fits import Fits, Solver
from snnbreg.admm.readout import filtered, last_spikes
from snnbreg.admm.remedies import Anderson, balanced
from snnbreg.admm.settings import (
    check_choices,
    check_from_zero,
    check_positive,
    check_together,
)
from snnbreg.admm.variables import Batch, Processes, Variables
from snnbreg.admm.weights import Senders
from snnbreg.optim.regularizers import get_regularizer

log = logging.getLogger(__name__)

SIMULATIONS = {"fast": 4, "published": 24}
"""How many simulations of the network take as long as a sweep, roughly; on a CPU."""


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
        init: ``"uniform"`` states in [0, 1), as published, those of the ``"network"`` as it is, or
            of an ``"active"`` one, whose weights are scaled until every layer fires.
        balance: where one of two residuals is more than so many times the other, beta and the
            output layer's rho are doubled or halved; 0: they stay.
        readout: ``"admm"``: the output layer's membranes and multipliers are variables, as
            published; ``"exact"``: it is the ridge regression on the simulated network's spikes,
            see ``readout``; rho_output, multipliers and warmup mean nothing then.
        restart: every so many sweeps begin with the states of the simulated network, and the
            ridge pulls hidden weights to what they are; 0: never. With ``readout="exact"``. With
            1 no variable outlives a sweep, and none is saved.
        momentum: how much of its last change a hidden weight matrix keeps on changing.
        anderson: how many of the last sweeps are mixed (Anderson acceleration), each kept twice;
            0: none.
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
        readout: str = "admm",
        restart: int = 0,
        momentum: float = 0.0,
        anderson: int = 0,
        memory_gb: float = 8.0,
    ) -> None:
        output = rho if rho_output is None else rho_output
        check_choices(form=form, multipliers=multipliers, solver=solver, init=init, readout=readout)
        check_positive(rho=rho, rho_output=output, beta=beta, solver_steps=solver_steps)
        check_from_zero(
            ridge=ridge, lam=lam, warmup=warmup, balance=balance, anderson=anderson,
            restart=restart, momentum=momentum,
        )  # fmt: skip
        check_together(form, readout, restart, momentum, anderson)
        if not isinstance(network, PlainNetwork):
            raise ValueError("ADMM trains networks that offer plain_lif, such as that of model=lif")
        if anderson and processes.count > 1:
            raise ValueError("anderson needs all samples in one process")
        weights, leak, threshold = network.plain_lif()
        self.weights = [weight.detach() for weight in weights]  # the same memory
        self.neuron = Neuron(leak, threshold, leak * threshold)
        self.hidden = len(self.weights) - 1
        self.penalties = Penalties([rho] * self.hidden + [output], beta)
        self.task, self.processes, self.form, self.stale = task, processes, form, stale
        self.epochs = epochs
        self.every_step, self.warmup = multipliers == "all", warmup * epochs
        self.lam, self.balance = lam, balance
        self.variables = Variables(
            self.weights, self.neuron, processes, init, memory_gb * 1e9, sparse=form == "fast"
        )
        prox = get_regularizer(regularizer, self.weights[0].shape).prox
        self.fits = Fits(
            self.weights, processes, ridge, Solver(solver, solver_steps, prox, lam), momentum,
            proximal=restart > 0, keep_first=form == "fast",
        )  # fmt: skip
        self.exact, self.restart = readout == "exact", restart
        self.anderson = Anderson(anderson)

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
            self._predict()
        mixes = self.anderson.depth > 0
        before = [x.clone() for x in self.variables.tensors()] if mixes else []
        order = torch.randperm(max(len(b.dual) for b in self.variables.batches) - 1)
        layers = torch.randperm(self.hidden).tolist()
        if self.restart and number % self.restart == 0:
            self._restarted_sweep(layers, first=number == 0)
        else:
            for layer in layers:
                self._fit_weights(layer)
                for batch in self.variables.batches:
                    self._update_hidden(layer, batch, order[order < len(batch.dual) - 1])
            self._fit_weights(self.hidden)
        for batch in self.variables.batches:
            self._update_output(batch, order[order < len(batch.dual) - 1], number >= self.warmup)
        row = self._measured()
        self.fits.heed(row["train_loss"])
        if mixes:
            self.variables.replace(self.anderson.next(before, self.variables.tensors()))
        if self.restart != 1:
            self.variables.gather()
        for _ in self.variables.batches:
            done()
        return row

    def _predict(self) -> None:
        """Say what is to come: memory, work and time."""
        seconds = SIMULATIONS[self.form] * self.variables.forward_seconds()
        log.info(
            "%s; roughly %.1f s per epoch, %.0f minutes for %d", self.variables.prediction(),
            seconds, seconds * self.epochs / 60, self.epochs,
        )  # fmt: skip

    def _restarted_sweep(self, layers: Sequence[int], first: bool) -> None:
        """The states of the network as it is, then its layers from the top, then the weights."""
        if first:  # later the sweep before has done it
            self._fit_weights(self.hidden)
        for batch in self.variables.batches:
            z, a = simulate(self.weights, self._current(0, batch), self.neuron)
            for kept, now in zip([*batch.z, *batch.a], [*z, *a], strict=True):
                kept.copy_(now)
            for layer in reversed(range(self.hidden)):
                self._update_hidden(layer, batch, torch.arange(0))
        for layer in layers:
            self._fit_weights(layer)
        self._fit_weights(self.hidden)

    def _fit_weights(self, layer: int) -> None:
        """W of one layer, from sums over the samples of all batches and processes."""
        batches = self.variables.batches
        self.fits.fit(layer, (self._regression(layer, batch) for batch in batches))
        if layer == 0:
            for batch in batches:
                batch.current = None

    def _regression(self, layer: int, batch: Batch) -> tuple[Senders, Tensor]:
        """What the weights of a layer multiply, and what should come out."""
        if layer < self.hidden or not self.exact:
            return self._senders(layer, batch), self._wanted(layer, batch)
        spikes = simulate(self.weights, self._current(0, batch), self.neuron)[1][-1]
        return Senders(filtered(spikes, self.neuron.leak).unsqueeze(0)), batch.target.unsqueeze(0)

    def _update_hidden(self, layer: int, batch: Batch, order: Tensor) -> None:
        weight, current = self.weights[layer + 1], self._current(layer, batch)
        z, a = self._to_device(batch.z[layer]), self._to_device(batch.a[layer])
        rest = (layer, self.neuron, self.penalties)
        if self.form == "published":
            step = functools.partial(published.hidden_steps, stale=self.stale)
            above = self._wanted(layer + 1, batch)
            z, a = step(above, weight, z, a, current, layer, order, self.neuron, self.penalties)
        else:
            if self.exact and layer == self.hidden - 1:
                a = last_spikes(weight, z, current, batch.target, *rest)
            else:
                a = blocks.spikes(self._wanted(layer + 1, batch), weight, z, current, *rest)
            z = blocks.membranes(z, a, current, *rest)
        batch.z[layer].copy_(z)
        batch.a[layer].copy_(a)

    def _update_output(self, batch: Batch, order: Tensor, free: bool) -> None:
        current, dual = self._current(self.hidden, batch), self._to_device(batch.dual)
        rho, leak = self.penalties.rho[-1], self.neuron.leak
        if self.exact:
            batch.z[-1].copy_(integrate(current, leak))
            return
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
        return {
            "admm": {
                "batches": [] if self.restart == 1 else self.variables.state(),
                **self.fits.state(),
                "rho": list(self.penalties.rho),
                "beta": self.penalties.beta,
                "images": self.anderson.images,
                "residuals": self.anderson.residuals,
            }
        }

    def load_state_dict(self, state: Mapping[str, Any], source: str) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: it was made with another method.
        """
        if "admm" not in state:
            raise ValueError(f"{source} was made with another method than ADMM")
        saved = state["admm"]
        self.penalties = Penalties(list(saved["rho"]), saved["beta"])
        self.fits.load(saved)
        self.anderson.images = [list(images) for images in saved.get("images", ())]
        self.anderson.residuals = [list(residuals) for residuals in saved.get("residuals", ())]
        self.variables.loaded = saved["batches"] or None
        if self.variables.init == "active":  # the network is
            self.variables.init = "network"
