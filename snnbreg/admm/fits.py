"""The weights of all layers: regressions whose samples are spread over batches and processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnbreg.admm.variables import Processes
from snnbreg.admm.weights import Gram, Prox, Senders

READOUT = 20
"""So many times the steps for the output layer, whose few weights cost little and count most."""


class Solver(NamedTuple):
    """How weights with a regulariser are found.

    Attributes:
        name: ``"fista"`` or ``"bregman"``.
        steps: of every regression of a hidden layer.
        prox: of the regulariser.
        lam: its strength beside the mean over the terms of the squared residual / 2; 0: none.
    """

    name: str
    steps: int
    prox: Prox
    lam: float


class Fits:
    """Fits weight matrices in place, and keeps what the next fit goes on from.

    Args:
        weights: by layer, the output layer's last.
        processes: of the run; each brings its own samples.
        ridge: added to the diagonal of Gram matrices; 0: pseudo-inverse.
        solver: of weights with a regulariser.
        momentum: how much of its last change a hidden weight matrix keeps on changing.
        proximal: the ridge pulls hidden weights to what they were and not to zero, so that they
            stay where nothing asks for a change.
        keep_first: whether the first layer's senders, the frames, are always the same.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        processes: Processes,
        ridge: float,
        solver: Solver,
        momentum: float,
        proximal: bool,
        keep_first: bool,
    ) -> None:
        self.weights, self.processes, self.ridge = weights, processes, ridge
        self.solver, self.momentum = solver, momentum
        self.proximal, self.keep_first = proximal, keep_first
        self.duals = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
        self.changes = [torch.zeros_like(dual) for dual in self.duals[: -1 if momentum else 0]]
        self.loss = math.inf
        self._first: Gram | None = None

    def fit(self, layer: int, batches: Iterable[tuple[Senders, Tensor]]) -> None:
        """W of one layer.

        With momentum m, Gram matrix G and last change D the products B become B + m D G: without
        a regulariser the weights move on by m D, and with one they keep their zeros.

        Args:
            layer: which one.
            batches: senders, (T, N, senders), and wanted currents, (T, N, receivers).
        """
        weight = self.weights[layer]
        gram = self._first if layer == 0 else None
        products = torch.zeros_like(weight, dtype=torch.float64)
        matrix = weight.new_zeros((weight.shape[1],) * 2, dtype=torch.float64)
        terms = torch.zeros((), dtype=torch.float64)
        for senders, wanted in batches:
            products += senders.products(wanted)
            terms += wanted.shape[0] * wanted.shape[1]
            if gram is None:
                matrix += senders.gram()
        self.processes.add(products, terms, *([matrix] if gram is None else []))
        if gram is None:
            gram = Gram(matrix, self.ridge)
        if layer == 0 and self.keep_first:
            self._first = gram
        moves = layer < len(self.changes)
        before = weight.to(torch.float64, copy=True)
        if moves:
            products += self.momentum * self.changes[layer] @ gram.matrix
        if self.proximal and layer < len(self.weights) - 1:
            products += self.ridge * before
        weight.copy_(self._solved(layer, gram, products, self.solver.lam * float(terms)))
        if moves:
            self.changes[layer] = weight.double() - before

    def _solved(self, layer: int, gram: Gram, products: Tensor, lam: float) -> Tensor:
        if lam == 0:
            return gram.solve(products)
        prox, steps = self.solver.prox, self.solver.steps
        if layer == len(self.weights) - 1:
            steps *= READOUT
        if self.solver.name == "fista":
            return gram.fista(products, self.weights[layer].double(), lam, prox, steps)
        weight, self.duals[layer] = gram.bregman(products, self.duals[layer], lam, prox, steps)
        return weight

    def heed(self, loss: float) -> None:
        """Forget the last changes where the loss has grown: momentum has carried too far."""
        if loss > self.loss:
            self.changes = [torch.zeros_like(change) for change in self.changes]
        self.loss = loss

    def state(self) -> dict[str, Any]:
        """To be saved."""
        return {"duals": self.duals, "changes": self.changes, "loss": self.loss}

    def load(self, saved: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        device = self.weights[0].device
        self.duals = [dual.to(device) for dual in saved["duals"]]
        self.changes = [x.to(device) for x in saved.get("changes", self.changes)]
        self.loss = saved.get("loss", math.inf)
