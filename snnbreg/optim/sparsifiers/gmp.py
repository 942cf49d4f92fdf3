"""GMP: gradual magnitude pruning.

Paper: To prune, or not to prune (Zhu, Gupta 2017), https://arxiv.org/abs/1710.01878
"""

from __future__ import annotations

from snnbreg.optim.sparsifiers.base import Course, Sparsifier, check_steps


class GMP(Sparsifier):
    r"""Prunes the smallest weights little by little while the network trains.

    From step :math:`t_0` to :math:`t_1` (begin, end), every so many steps, the share

    .. math:: s_t = s_f \left(1 - \left(1 - (t - t_0) / (t_1 - t_0)\right)^3\right)

    of the weights is pruned, where :math:`1 - s_f` is the density. Pruned weights stay so. The
    last update is at ``end`` whether or not the period divides the time.

    Args:
        course: the training.
        density: kept weights / all weights, from ``end`` on.
        allocation: ``global`` (one ranking of all weights), ``layer`` (the same share in each
            matrix) or ``erk`` (small matrices keep more).
        begin: share of the run before the first update.
        end: share of the run at the last one; what remains is training at the final density.
        every: steps between updates.
    """

    def __init__(
        self,
        course: Course,
        density: float = 0.1,
        allocation: str = "global",
        begin: float = 0.0,
        end: float = 0.75,
        every: int = 100,
    ) -> None:
        super().__init__(course, density, allocation)
        check_steps("every", every)
        self.every = every
        self.begin, self.end = course.step_at("begin", begin), course.step_at("end", end)
        if begin > end or self.end < 1:
            raise ValueError(
                f"Invalid end: {end!r}. It must be after the first step and begin={begin!r}."
            )

    def after_step(self) -> None:
        """Prune where it is time to."""
        super().after_step()
        due = (self.step - self.begin) % self.every == 0
        if self.step == self.end or (self.begin <= self.step < self.end and due):
            self.prune(self.counts())

    def counts(self) -> list[int]:
        """How many weights are kept at this step, as many numbers as :class:`Budget` ranks."""
        last = self.end - self.begin
        since = min(max(self.step - self.begin, 0), last)
        left = (1 - since / last) ** 3 if last else float(self.step < self.end)
        pairs = zip(self.budget.sizes, self.budget.final, strict=True)
        return [final + round((size - final) * left) for size, final in pairs]
