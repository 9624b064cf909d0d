"""Adapters of Ridge, Lasso, ElasticNet and LogisticRegression."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge

from .... import losses
from ....problem import BilevelProblem
from .base import Classifier, LeastSquares, n_outputs, register_adapter, samples
from .parts import ElasticSpace, FixedSpace, RidgeOf, ShareOf, centred

# An intercept is the coefficient of a constant feature of this size, so that it is penalised 1/900
# as much as a coefficient of a feature of size 1.
INTERCEPT = 30.0


@register_adapter(Ridge)
class OfRidge(LeastSquares):
    """Ridge. The parameter is alpha; with an intercept, each training set is centred."""

    def __init__(self, estimator, X, y):
        self._check_alpha(estimator.alpha, y)
        if estimator.positive:
            raise ValueError("Ridge(positive=True) is not differentiable: use positive=False")
        self.shares_points = not estimator.fit_intercept
        self.defaults = {"alpha": estimator.alpha}

    def problem(self, values, train, test, outer_loss):
        """Linear ridge regression, centred by the training set's means if it has an intercept."""
        if not self.shares_points:
            train, test, outer_loss = centred(train, test, outer_loss)
        inner, outer = samples(train, test)
        loss, ridge = self._loss_and_ridge(values, train)
        return BilevelProblem(
            loss, outer_loss, inner, outer, FixedSpace(0.0), ridge, n_outputs=n_outputs(train.y)
        )


@register_adapter(ElasticNet)  # Lasso is a subclass
class OfElasticNet(LeastSquares):
    """Lasso and ElasticNet. The parameters are alpha and, for ElasticNet, l1_ratio."""

    def __init__(self, estimator, X, y):
        if estimator.positive:
            raise ValueError(
                f"{type(estimator).__name__}(positive=True) is not supported: use positive=False"
            )
        self.shares_points = not estimator.fit_intercept
        shown = ("alpha", "l1_ratio") if "l1_ratio" in estimator.get_params() else ("alpha",)
        self.defaults = {name: getattr(estimator, name) for name in shown}
        if not self.defaults.get("l1_ratio", 1.0) > 0:
            raise ValueError("ElasticNet(l1_ratio=0) is a Ridge: use that")

    def problem(self, values, train, test, outer_loss):
        """Least squares with alpha·(l1_ratio‖θ‖₁ + (1 − l1_ratio)‖θ‖²/2), whatever Σw is."""
        if not self.shares_points:
            train, test, outer_loss = centred(train, test, outer_loss)
        inner, outer = samples(train, test)
        ridge = ShareOf(values, rest=True) if "l1_ratio" in self.defaults else 0.0
        return BilevelProblem(
            losses.Squared(), outer_loss, inner, outer, ElasticSpace(ShareOf(values)), ridge,
            n_outputs=n_outputs(train.y),
        )


@register_adapter(LogisticRegression)
class OfLogisticRegression(Classifier):
    """LogisticRegression with the l2 penalty. The parameter is C."""

    def __init__(self, estimator, X, y):
        super().__init__(estimator, X, y)
        plain = getattr(estimator, "penalty", "l2") in ("l2", "deprecated")
        if not plain or getattr(estimator, "l1_ratio", None) not in (None, 0, 0.0):
            raise ValueError("LogisticRegression is differentiable with the l2 penalty only")
        self.constant = INTERCEPT if estimator.fit_intercept else 0.0

    def problem(self, values, train, test, outer_loss):
        """The penalised likelihood, on centred points if there is an intercept."""
        shift = np.average(train.X, axis=0, weights=train.weights.sum(0)) if self.constant else 0.0
        X = train.X - shift  # the intercept absorbs the shift
        test = test._replace(X=X if test.X is train.X else test.X - shift)
        inner, outer = samples(train._replace(X=X), test)
        K = len(self.classes)
        return BilevelProblem(
            self.outer_loss(), outer_loss, inner, outer, FixedSpace(self.constant),
            RidgeOf(values, "C", train.weights.sum(1)), n_outputs=None if K == 2 else K,
        )
