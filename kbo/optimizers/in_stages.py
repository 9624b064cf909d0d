"""A search in stages: at first groups of numbers move together, or do not move at all."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import numpy as np

from ..result import Status
from .base import Optimizer
from .lbfgs import LBFGS


class InStages(Optimizer):
    """For each labelling in turn min_y L(ω + Ty), (Ty)_j = y_{label(j)}; at last min_ω L(ω).

    With many numbers of one kind, such as a lengthscale for each feature, a first stage finds their
    common level, from which the search for each of them cannot go astray so easily. Each stage
    starts where the last one ended.

    Attributes
    ----------
    held : int
        The label of what does not move, −1.

    Parameters
    ----------
    stages : sequence of sequences of int (q,)
        For each stage before the last, the labels of the entries of the flat ω: entries with the
        same label 0, 1, … move together, and those with −1 are held at their start.
    optimizer : Optimizer
        For all stages, which share its ``max_steps`` in equal parts, as far as they use them.
    looser : float
        Factor on ``optimizer.ftol`` in the stages before the last, whose ends are but starts.
    freely : bool
        Whether the last stage follows, in which each number moves alone. Without it the minimum is
        that of ω + Ty alone.

    Raises
    ------
    ValueError
        If ω has another number of entries than there are labels; with ``freely=False``, if there is
        no stage in which a number moves.
    """

    held: ClassVar[int] = -1

    stages: tuple[tuple[int, ...], ...] = eqx.field(
        static=True, converter=lambda stages: tuple(tuple(map(int, labels)) for labels in stages)
    )
    optimizer: LBFGS = LBFGS()
    looser: float = 1.0
    freely: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if not (self.freely or any(max(labels, default=-1) >= 0 for labels in self.stages)):
            raise ValueError("freely=False needs a stage with a label that is not negative")

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """All stages; see Optimizer.run."""
        known, taken = {}, 0  # what a later stage need not evaluate again, and the steps so far
        status = Status.CONVERGED

        def once(point, **more):
            found = None if more else known.pop(point.tobytes(), None)
            return evaluate(point, **more) if found is None else found

        for place, labels in enumerate(map(np.array, self.stages)):
            if labels.shape != np.shape(omega):
                raise ValueError(f"{len(labels)} labels for an omega of {np.size(omega)} numbers")
            alone = np.array_equal(np.unique(labels), np.arange(len(labels)))
            if (alone and self.freely) or labels.max() < 0:
                continue  # every number alone, as in the last stage, or none
            left = self.optimizer.max_steps - taken
            stage = _Stage(labels, omega, lower, upper, once, report, known)
            share = left // (len(self.stages) + self.freely - place)
            optimizer = dataclasses.replace(
                self.optimizer, max_steps=max(min(1, left), share),
                ftol=self.looser * self.optimizer.ftol,
            )
            status = optimizer.run(stage.evaluate, stage.accept, *stage.box())
            if status is Status.NON_FINITE:
                return status
            omega, taken = stage.last, taken + stage.taken
        if not self.freely:
            return status
        left = max(0, self.optimizer.max_steps - taken)
        last = dataclasses.replace(self.optimizer, max_steps=left)
        return last.run(once, report, omega, lower, upper, tree)


class _Stage:
    """The search over y from ω, within the box of ω."""

    def __init__(self, labels, omega, lower, upper, evaluate, report, known):
        self.moving, self.count = labels != InStages.held, labels.max() + 1
        self.labels, self.omega = labels, np.array(omega, float)
        self.lower, self.upper = lower, upper
        self._evaluate, self._report, self._known = evaluate, report, known
        self.last, self.taken = self.omega, 0

    def _at(self, y):
        moved = np.where(self.moving, y[self.labels], 0.0)
        return np.clip(self.omega + moved, self.lower, self.upper)

    def evaluate(self, y, **more):
        """L and its gradient in y, or None as Optimizer.run's ``evaluate`` does."""
        point = self._at(y)
        found = self._evaluate(point, **more)
        if found is None:
            return None
        value, grad = self._known[point.tobytes()] = found
        return value, np.bincount(self.labels[self.moving], grad[self.moving], self.count)

    def accept(self, y):
        """Report the point."""
        self.last, self.taken = self._at(y), self.taken + 1
        self._report(self.last)

    def box(self):
        """The start of y, and a box in which some number of each group is within its bounds."""
        low, high = np.full(self.count, -np.inf), np.full(self.count, np.inf)
        own = self.labels[self.moving]
        np.maximum.at(low, own, (self.lower - self.omega)[self.moving])
        np.minimum.at(high, own, (self.upper - self.omega)[self.moving])
        return np.zeros(self.count), low, high
