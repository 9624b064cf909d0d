"""The task of an estimator's search: a model's criterion on all samples, or on some of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...search.session import Session
from .._common.folds import bucket, pad
from .criterion import Criterion
from .model import Model


def padded_problem(model, X, targets, train, test):
    """The model's problem with samples padded to a bucket's size; padding has weight zero."""
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
        The targets of the inner and of the outer loss.
    whole : Session
        The session of the model on all samples; its solver is used.
    is_part : bool
        Whether these are only a part of the samples.
    """

    model: Model
    criterion: Criterion
    X: np.ndarray
    targets: tuple
    whole: Session
    is_part: bool = False

    @cached_property
    def session(self) -> Session:
        """The criterion's bilevel problem, with the method that evaluates it."""
        criterion = self.criterion
        problem = padded_problem(
            self.model, self.X, self.targets, criterion.train, criterion.test
        )
        return self.whole.of(problem, criterion.method_for(bucket(len(self.X))))

    @property
    def nonnegative(self):
        """Whether the criterion is never negative."""
        known = self.criterion.nonnegative
        return getattr(self.model.outer_loss.base, "nonnegative", False) if known is None else known

    def bounds(self):
        """The model's bounds (lower, upper) of ω for these samples."""
        return self.model.bounds(self.X, self.criterion.weight)

    def part(self, size):
        """The task on ``size`` samples, evenly from every fold; None if that saves little.

        It is also None if a fold would be left without training or test samples of weight.
        """
        if len(self.X) < 2 * size:
            return None
        rows = np.linspace(0, len(self.X) - 1, size).astype(int)
        criterion = self.criterion.on(rows)
        if not (criterion.train.sum(1).all() and criterion.test.sum(1).all()):
            return None
        targets = tuple(target[rows] for target in self.targets)
        return Task(self.model, criterion, self.X[rows], targets, self.whole, is_part=True)
