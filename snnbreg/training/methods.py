"""Methods of training: one epoch of updates, with a state of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snnbreg.training.hooks import Hook
from snnbreg.training.network import Delayed, weights_of
from snnbreg.training.penalties import Penalties, Penalty
from snnbreg.training.processes import Processes
from snnbreg.training.tasks import Task

CHECK_EVERY = {"cpu": 1}  # batches between looks at the loss: each look waits for the device
CHECK_EVERY_ELSEWHERE = 20


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


class Method(Protocol):
    """What the loop asks of a method; it evaluates after ``epoch``, and then saves both states.

    All that a method changes in the network it changes inside ``epoch``.
    """

    def epoch(
        self, number: int, batches: Iterable[tuple[Tensor, Tensor]], done: Callable[[], object]
    ) -> dict[str, float]:
        """Train on the batches of one epoch.

        Args:
            number: of the epoch, from 0.
            batches: frames (T, B, C) and labels.
            done: to be called after each batch.

        Returns:
            Columns of the epoch's row: ``train_loss``, the task's measure as ``train_MEASURE``,
            and what the method has to tell (see ``columns``).

        Raises:
            DivergedError: the loss or a gradient became infinite or NaN.
        """

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, under names that no other part of a checkpoint has."""

    def load_state_dict(self, state: Mapping[str, Any], source: str) -> None:
        """Continue from a checkpoint that holds what ``state_dict`` returned.

        Raises:
            ValueError: it belongs to another method; ``source`` is named.
        """


class Scheduler(Protocol):
    """What gradient steps need of a schedule; it decides itself which call moves it."""

    def step_batch(self) -> None:
        """A batch is done."""

    def step_epoch(self, metric: float | None = None) -> None:
        """An epoch is done; ``metric`` is its training loss."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""


class GradientSteps:
    """A gradient of the loss and a step of every optimizer for each batch.

    Args:
        network: any module, frames (T, B, C) -> outputs (T, B, K).
        task: loss and measure of a batch.
        optimizers: by name; ``weights`` has the weight matrices.
        schedulers: their ``step_batch`` and ``step_epoch`` are called in order.
        hooks: called in order, the end of an epoch before the schedulers.
        penalties: terms of the loss on hidden spikes.
        grad_clip: largest gradient norm; None for no clipping.

    Raises:
        ValueError: ``grad_clip`` is not positive.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        optimizers: Mapping[str, Optimizer],
        schedulers: Sequence[Scheduler] = (),
        hooks: Sequence[Hook] = (),
        penalties: Sequence[Penalty] = (),
        grad_clip: float | None = None,
    ) -> None:
        if grad_clip is not None and not grad_clip > 0:
            raise ValueError(f"trainer.grad_clip must be positive or null, not {grad_clip}")
        self.network, self.task = network, task
        self.optimizers, self.schedulers = dict(optimizers), list(schedulers)
        self.hooks, self.grad_clip = list(hooks), grad_clip
        self.penalties = Penalties(network, penalties)
        self.processes = Processes()
        self.processes.share(network)
        self._parameters = [p for p in network.parameters() if p.requires_grad]

    def epoch(
        self, number: int, batches: Iterable[tuple[Tensor, Tensor]], done: Callable[[], object]
    ) -> dict[str, float]:
        """Train on the batches of one epoch, see :class:`Method`.

        Raises:
            ValueError: there are no batches, or nothing in them is labelled.
        """
        for hook in self.hooks:
            hook.before_epoch(number)
        settings = self.settings()
        device = self._parameters[0].device
        check_every = CHECK_EVERY.get(device.type, CHECK_EVERY_ELSEWHERE)
        loss_sum = total = norm_sum = torch.zeros((), dtype=torch.float64, device=device)
        batch = count = 0
        self.network.train()
        with self.penalties.watching():
            for batch, (frames, labels) in enumerate(batches, 1):
                score, share = self.processes.score(self.task, self.network, frames, labels)
                norm = self._step(share * score.loss, number, look=batch % check_every == 0)
                loss_sum = loss_sum + score.loss.detach().double() * score.count
                total, norm_sum = total + score.total, norm_sum + norm
                count += score.count
                done()
        loss, measure, counted = self.processes.sums(loss_sum, total, count)
        if counted == 0:
            raise ValueError("There is nothing to train on: the training split holds no labels")
        check_finite(number, loss, float(norm_sum))
        for hook in self.hooks:
            hook.after_epoch(number)
        for scheduler in self.schedulers:
            scheduler.step_epoch(loss / counted)
        return {
            "train_loss": loss / counted,
            f"train_{self.task.measure}": measure / counted,
            "grad_norm": float(norm_sum) / batch,
            **settings,
            **{column: v for hook in self.hooks for column, v in hook.columns().items()},
        }

    def settings(self) -> dict[str, float]:
        """Learning rate and lambda of the weight matrices, and sigma, as they stand."""
        first = weights_of(self.network)[0].weight
        groups = self.optimizers["weights"].param_groups
        group = next(g for g in groups if any(p is first for p in g["params"]))
        sigma = {"sigma": float(self.network.sigma)} if isinstance(self.network, Delayed) else {}
        return {"lr": float(group["lr"]), "lam": float(group.get("lam", 0.0)), **sigma}

    def _step(self, loss: Tensor, epoch: int, look: bool) -> Tensor:
        """One step of all optimizers; returns the norm of the gradient before it was clipped.

        Args:
            loss: this process's part of it.
            epoch: its number, from 0.
            look: whether loss and gradient are checked.
        """
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss = self.penalties.added_to(loss, self.processes.mean)
        loss.backward()
        self.processes.add(*(p.grad for p in self._parameters if p.grad is not None))
        for hook in self.hooks:
            hook.after_backward()
        norm = self._clip()
        if look:  # before the step, so that no parameter becomes NaN
            (whole,) = self.processes.sums(loss.detach())
            check_finite(epoch, whole, float(norm))
        for optimizer in self.optimizers.values():
            optimizer.step()
        for hook in self.hooks:
            hook.after_step()
        for scheduler in self.schedulers:
            scheduler.step_batch()
        return norm

    def _clip(self) -> Tensor:
        """The norm of the whole gradient, which is scaled down to ``grad_clip`` where larger."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, self.grad_clip, norm)
        return norm.double()

    def state_dict(self) -> dict[str, Any]:
        """The states of the optimizers by name, and of schedulers and hooks in order."""
        return {
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "hooks": [hook.state_dict() for hook in self.hooks],
        }

    def load_state_dict(self, state: Mapping[str, Any], source: str) -> None:
        """Continue from a checkpoint, see :class:`Method`."""
        if set(state.get("optimizers", ())) != set(self.optimizers):
            names = ", ".join(state.get("optimizers", ())) or "none"
            raise ValueError(f"{source} was made with other optimizers: {names}")
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if len(state["schedulers"]) != len(self.schedulers):
            raise ValueError(f"{source} was made with another number of schedules")
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        # A checkpoint from before hooks had a state has none, and its hooks needed none.
        for hook, saved in zip(self.hooks, state.get("hooks", ()), strict=False):
            hook.load_state_dict(saved)


def check_finite(epoch: int, loss: float, gradient: float = 0.0) -> None:
    """Refuse a loss or gradient that is infinite or NaN.

    Raises:
        DivergedError: says what to change.
    """
    if not (math.isfinite(loss) and math.isfinite(gradient)):
        what = "gradient" if math.isfinite(loss) else "loss"
        raise DivergedError(
            f"The {what} became infinite or NaN in epoch {epoch + 1}. The "
            "checkpoints of the epochs before are kept. Try a smaller optim.lr, "
            "optim.delay_lr or optim.lam, or trainer.grad_clip=1"
        )
