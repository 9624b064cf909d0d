"""What an estimator's search minimises: a model's criterion on samples, or on some of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._common.folds import bucket, pad
from .criterion import Criterion
from .model import Model


def padded_problem(model, X, targets, train, test):
    """The model's problem on a bucket's number of rows; those added have no weight."""
    size = bucket(len(X))
    extra = ((0, 0), (0, size - len(X)))
    goals = tuple(pad(target, size) for target in targets)
    return model.problem(pad(X, size), goals, np.pad(train, extra), np.pad(test, extra))


@dataclass(frozen=True)
class Task:
    """A model, the criterion that judges it, and samples in the criterion's order.

    Attributes
    ----------
    model : Model
    criterion : Criterion
    X : ndarray (n, d)
    targets : pair of ndarray
        Of the inner and of the outer loss.
    solver : Solver
    is_part : bool
        Whether these are some of the samples only.
    """

    model: Model
    criterion: Criterion
    X: np.ndarray
    targets: tuple
    solver: Any
    is_part: bool = False

    @cached_property
    def problem(self):
        """The bilevel problem."""
        criterion = self.criterion
        return padded_problem(
            self.model, self.X, self.targets, criterion.train, criterion.test
        )

    @property
    def method(self):
        """How its value and gradient are computed."""
        return self.criterion.method_for(bucket(len(self.X)))

    @property
    def nonnegative(self):
        """Whether the criterion is never negative."""
        known = self.criterion.nonnegative
        return getattr(self.model.outer_loss.base, "nonnegative", False) if known is None else known

    def bounds(self):
        """See Model."""
        return self.model.bounds(self.X, self.criterion.weight)

    def part(self, size):
        """The task on so many samples, evenly from every fold; None if that saves little.

        None also where a fold would have no weight left to train or to test on.
        """
        if len(self.X) < 2 * size:
            return None
        rows = np.linspace(0, len(self.X) - 1, size).astype(int)
        criterion = self.criterion.on(rows)
        if not (criterion.train.sum(1).all() and criterion.test.sum(1).all()):
            return None
        targets = tuple(target[rows] for target in self.targets)
        return Task(self.model, criterion, self.X[rows], targets, self.solver, is_part=True)
