"""The weight update: a quadratic function of one matrix, with a regulariser or without.

    min over W:  1/2 sum_{t,n} ||x - W s||^2 + ridge/2 ||W||^2 + lam J(W)
               = 1/2 <W G, W> - <B, W> + ridge/2 ||W||^2 + lam J(W) + const

with senders s, wanted currents x, G = sum s s^T and B = sum x s^T. The samples are in G and B
alone, which are sums: over batches, and over processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

Prox = Callable[[Tensor, float], Tensor]
"""(v, lam) -> the minimiser of lam J(W) + ||W - v||^2 / 2."""

SPARSE_BELOW = 0.02
"""Frames with fewer non-zero entries than this are kept as a sparse matrix."""


class Senders:
    """What a weight matrix multiplies, (T, N, senders): spikes or frames.

    Args:
        values: (T, N, senders).
    """

    def __init__(self, values: Tensor) -> None:
        self.values, self.shape = values, values.shape

    def current(self, weight: Tensor) -> Tensor:
        """W s, (T, N, receivers)."""
        return self.values @ weight.T

    def products(self, wanted: Tensor) -> Tensor:
        """B = sum x s^T, (receivers, senders), of wanted currents (T, N, receivers)."""
        return wanted.flatten(0, 1).T @ self.values.flatten(0, 1)

    def gram(self) -> Tensor:
        """G = sum s s^T, (senders, senders)."""
        return self.products(self.values)


class SparseSenders(Senders):
    """Frames with few events, as a matrix of rows (step and sample) and its transpose.

    Args:
        values: (T, N, senders).
    """

    def __init__(self, values: Tensor) -> None:
        self.shape = values.shape
        rows = values.flatten(0, 1)
        with warnings.catch_warnings():  # that torch's sparse matrices are young
            warnings.simplefilter("ignore", UserWarning)
            self.rows, self.columns = rows.to_sparse_csr(), rows.T.to_sparse_csr()

    def current(self, weight: Tensor) -> Tensor:
        """W s, (T, N, receivers)."""
        return (self.rows @ weight.T.contiguous()).unflatten(0, self.shape[:2])

    def products(self, wanted: Tensor) -> Tensor:
        """B = sum x s^T, (receivers, senders), of wanted currents (T, N, receivers)."""
        return (self.columns @ wanted.flatten(0, 1)).T

    def gram(self) -> Tensor:
        """G = sum s s^T, (senders, senders)."""
        return torch.sparse.mm(self.columns, self.rows).to_dense()


def senders_of(frames: Tensor) -> Senders:
    """Frames in the form in which they are multiplied fastest."""
    density = torch.count_nonzero(frames).item() / max(frames.numel(), 1)
    return (SparseSenders if 0 < density < SPARSE_BELOW else Senders)(frames)


class Gram:
    """G with what is derived from it; kept as long as the senders stay the same.

    Args:
        matrix: G, (senders, senders), float64.
        ridge: added to its diagonal, >= 0. With 0, least squares of minimal norm, by the
            pseudo-inverse, as published.
    """

    def __init__(self, matrix: Tensor, ridge: float) -> None:
        self.matrix, self.ridge = matrix.clone(), ridge
        self.matrix.diagonal().add_(ridge)

    @cached_property
    def factor(self) -> Tensor:
        """Cholesky factor."""
        return torch.linalg.cholesky(self.matrix)

    @cached_property
    def inverse(self) -> Tensor:
        """Pseudo-inverse."""
        return torch.linalg.pinv(self.matrix, hermitian=True)

    @cached_property
    def bound(self) -> float:
        """The largest eigenvalue: how steep a gradient of the quadratic function can be."""
        return float(torch.linalg.eigvalsh(self.matrix)[-1])

    def solve(self, products: Tensor) -> Tensor:
        """The minimiser without a regulariser, (receivers, senders), from B."""
        if self.ridge == 0:
            return products @ self.inverse
        return torch.cholesky_solve(products.T, self.factor).T

    def fista(self, products: Tensor, start: Tensor, lam: float, prox: Prox, steps: int) -> Tensor:
        """Accelerated proximal gradient with restarts, from a start, with exact zeros.

        Args:
            products: B, (receivers, senders).
            start: W of the iteration before.
            lam: weight of the regulariser.
            prox: of the regulariser.
            steps: proximal steps.

        Reference: Beck, Teboulle: A Fast Iterative Shrinkage-Thresholding Algorithm (2009);
            restarts: O'Donoghue, Candes: Adaptive Restart for Accelerated Gradient Schemes (2015).
        """
        size = 1 / self.bound
        weight = ahead = start
        inertia = 1.0
        for _ in range(steps):
            before = weight
            weight = prox(ahead - size * (ahead @ self.matrix - products), size * lam)
            if torch.sum((ahead - weight) * (weight - before)) > 0:  # it moves uphill
                inertia = 1.0
            faster = (1 + (1 + 4 * inertia**2) ** 0.5) / 2
            ahead = weight + (inertia - 1) / faster * (weight - before)
            inertia = faster
        return weight

    def bregman(
        self, products: Tensor, dual: Tensor, lam: float, prox: Prox, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Linearized Bregman iterations: the dual variable moves, the weights are read off it.

        Weights appear one after the other; in the end nothing is shrunk. ``delta`` is 1 over the
        steepest curvature, so that ``lam`` is on the scale of that of ``fista``.

        Args:
            products: B, (receivers, senders).
            dual: of the iteration before, (receivers, senders); at first zero.
            lam: a weight needs |dual| > lam.
            prox: of the regulariser.
            steps: Bregman steps.

        Returns:
            Weights and dual variable.

        Reference: Bungert et al.: A Bregman Learning Framework for Sparse Neural Networks (2021).
        """
        delta = 1 / self.bound
        weight = delta * prox(dual, lam)
        for _ in range(steps):
            dual = dual - (weight @ self.matrix - products)
            weight = delta * prox(dual, lam)
        return weight, dual
