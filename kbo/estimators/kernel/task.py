"""The task of an estimator's search: a model's criterion on all samples, or on some of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...criteria import MarginalLikelihood, Regularized
from ...search.session import Session
from .._common.folds import bucket, pad
from .criterion import Criterion
from .model import Model


def padded_problem(model, X, targets, train, test, prior_weight=0.0):
    """The model's problem with samples padded to a bucket's size; padding has weight zero."""
    size = bucket(len(X))
    extra = ((0, 0), (0, size - len(X)))
    goals = tuple(pad(target, size) for target in targets)
    weights = np.pad(train, extra), np.pad(test, extra)
    return model.problem(pad(X, size), goals, *weights, np.asarray(float(prior_weight)))


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
    scale_free : bool
        Whether the logarithm of a criterion that is never negative is minimised.
    size : float
        The size of a "mean", which the prior is multiplied by; 1 for a negative log-likelihood.
    is_part : bool
        Whether these are only a part of the samples.
    suffix : str
        Of the names of this search's files.
    """

    model: Model
    criterion: Criterion
    X: np.ndarray
    targets: tuple
    whole: Session
    scale_free: bool
    size: float = 1.0
    is_part: bool = False
    suffix: str = ""

    @cached_property
    def session(self) -> Session:
        """The criterion's bilevel problem, with the method that evaluates it."""
        if self.kind == "mean":
            return self.plain(self.size / self.samples)
        method = self.criterion.method_for(bucket(len(self.X)))
        samples = np.asarray(float(self.samples))
        method = Regularized(method, self.model.prior, samples, self.kind)
        return self.whole.of(self._problem(0.0), method)

    def plain(self, prior_weight=0.0) -> Session:
        """The session of L plus ``prior_weight`` times the prior."""
        method = self.criterion.method_for(bucket(len(self.X)))
        return self.whole.of(self._problem(prior_weight), method)

    def near(self, omega) -> Session:
        """The session of L with its prior, additive, near the minimum ω.

        There L exp(2P/n) has the slope of L + (2L(ω)/n) P.
        """
        if self.kind == "mean":
            return self.session
        return self.plain(2.0 * self.plain().value(omega) / self.samples)

    def _problem(self, prior_weight):
        criterion = self.criterion
        return padded_problem(
            self.model, self.X, self.targets, criterion.train, criterion.test, prior_weight
        )

    @property
    def samples(self) -> float:
        """How many numbers the criterion judges: samples, times outputs.

        A weight of k stands for k samples; weights that are no such numbers, but sum to one, say,
        do not make them fewer.
        """
        weight = self.criterion.weight
        count = max(float(weight.sum()), float(np.count_nonzero(weight)))
        return count * (self.model.n_outputs or 1)

    @property
    def kind(self) -> str:
        """What the criterion is: a "mean" of losses, squares ("square"), or "nats"."""
        known = self.criterion.nonnegative
        if known is None:
            known = getattr(self.model.outer_loss.base, "nonnegative", False)
        if self.criterion.method is MarginalLikelihood:
            return "nats"
        return "square" if self.scale_free and known else "mean"

    def shown(self, value) -> float:
        """A value of the session, in nats where the criterion is."""
        return value if self.kind == "mean" else self.session.method.plain(value)

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
        return Task(
            self.model, criterion, self.X[rows], targets, self.whole, self.scale_free, self.size,
            is_part=True, suffix=self.suffix,
        )
