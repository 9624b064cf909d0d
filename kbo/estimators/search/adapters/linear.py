"""Ridge and logistic regression."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from ....problem import BilevelProblem
from .base import Classifier, LeastSquares, n_outputs, register_adapter, samples
from .parts import FixedSpace, RidgeOf, Shifted

INTERCEPT = 30.0  # an intercept is a feature of this size: its penalty is 1/900 of the others'


@register_adapter(Ridge)
class OfRidge(LeastSquares):
    """alpha; X and y are centred on each training set where there is an intercept."""

    def __init__(self, estimator, X, y):
        self._check_alpha(estimator.alpha, y)
        if estimator.positive:
            raise ValueError("Ridge(positive=True) is not differentiable: use positive=False")
        self.shares_points = not estimator.fit_intercept
        self.defaults = {"alpha": estimator.alpha}

    def problem(self, values, train, test, outer_loss):
        """See Adapter."""
        if not self.shares_points:
            weights = train.weights[0]
            x, y = (np.average(v, axis=0, weights=weights) for v in (train.X, train.y))
            train = train._replace(X=train.X - x, y=train.y - y)
            test = test._replace(X=test.X - x)
            outer_loss = Shifted(outer_loss, y)
        inner, outer = samples(train, test)
        loss, ridge = self._loss_and_ridge(values, train)
        return BilevelProblem(
            loss, outer_loss, inner, outer, FixedSpace(0.0), ridge, n_outputs=n_outputs(train.y)
        )


@register_adapter(LogisticRegression)
class OfLogisticRegression(Classifier):
    """C, with the l2 penalty."""

    def __init__(self, estimator, X, y):
        super().__init__(estimator, X, y)
        plain = getattr(estimator, "penalty", "l2") in ("l2", "deprecated")
        if not plain or getattr(estimator, "l1_ratio", None) not in (None, 0, 0.0):
            raise ValueError("LogisticRegression is differentiable with the l2 penalty only")
        self.constant = INTERCEPT if estimator.fit_intercept else 0.0

    def problem(self, values, train, test, outer_loss):
        """See Adapter."""
        shift = np.average(train.X, axis=0, weights=train.weights.sum(0)) if self.constant else 0.0
        X = train.X - shift  # an intercept takes it up
        test = test._replace(X=X if test.X is train.X else test.X - shift)
        inner, outer = samples(train._replace(X=X), test)
        K = len(self.classes)
        return BilevelProblem(
            self.outer_loss(), outer_loss, inner, outer, FixedSpace(self.constant),
            RidgeOf(values, "C", train.weights.sum(1)), n_outputs=None if K == 2 else K,
        )
