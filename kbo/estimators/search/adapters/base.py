"""scikit-learn's estimators as bilevel problems, in their own parameters.

An adapter says which parameters are differentiable, and turns one training set and one test set
into a BilevelProblem. What is fitted besides h (centring, scaling) happens here, anew for each
training set.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .... import losses
from ....problem import BilevelProblem, Sample
from .parts import (
    SKLEARN_KERNELS,
    USES,
    FixedSpace,
    KernelOf,
    RidgeOf,
    Shifted,
    SmoothHinge,
    SmoothInsensitive,
    ValueOf,
)

INTERCEPT = 30.0  # an intercept is a feature of this size: its penalty is 1/900 of the others'


class Part(NamedTuple):
    """Points, targets and weights (F, n) of the training or the test sets."""

    X: Any
    y: np.ndarray
    weights: np.ndarray


class Adapter(abc.ABC):
    """How one kind of estimator is a bilevel problem.

    Parameters
    ----------
    estimator : estimator
    X : ndarray (n, d)
        The whole data, for parameters that are given by them (gamma).
    y : ndarray (n,) or (n, p)

    Attributes
    ----------
    defaults : dict of str to number or array
        Every differentiable parameter, with the estimator's value of it.

    Raises
    ------
    ValueError
        If the estimator's settings have no smooth counterpart.
    """

    defaults: dict
    shares_points: ClassVar[bool] = True  # whether one problem can hold all folds
    classifier: ClassVar[bool] = False
    gamma_power: int = -2  # gamma is a length to this power

    @abc.abstractmethod
    def problem(self, values, train, test, outer_loss) -> BilevelProblem:
        """Train on one part, judge on the other; the same X object where points are shared."""

    def encode(self, y) -> np.ndarray:
        """Targets as losses want them."""
        return np.asarray(y, float)

    def outer_loss(self) -> losses.Loss:
        """What the criterion is where none is asked for."""
        return losses.Squared()

    def finished(self, values, dimensions, folds) -> dict:
        """The values searched, with what the criterion does not see set by other means.

        Parameters
        ----------
        values : dict of str to number or array
        dimensions : list of Dimension
        folds : callable
            () ↦ an iterator of Fold.
        """
        return values

    def complaints(self, values, folds) -> list[str]:
        """What is wrong with these values although the criterion is low."""
        return []


def samples(train, test):
    """The inner and the outer Sample, at one set of points where they are one."""
    inner = Sample(train.X, train.y, train.weights)
    x = inner.x if test.X is train.X else test.X
    return inner, Sample(x, test.y, test.weights)


def n_outputs(y):
    """p of BilevelProblem for targets (n,) or (n, p)."""
    return None if y.ndim == 1 else y.shape[1]


def _check_kernel(estimator, known):
    name = {"polynomial": "poly"}.get(estimator.kernel, estimator.kernel)
    if name not in known:
        raise ValueError(
            f"kernel={estimator.kernel!r} of {type(estimator).__name__} is not differentiable "
            f"here: use one of {sorted(known)}"
        )
    degree = getattr(estimator, "degree", 3)
    if name == "poly" and degree != int(degree):
        raise ValueError(f"degree={degree!r} must be an integer")
    return name, int(degree)


def _gamma(estimator, X):
    """The number behind gamma=None, "scale" or "auto"."""
    if estimator.gamma == "scale":
        return 1.0 / (X.shape[1] * (X.var() or 1.0))
    return 1.0 / X.shape[1] if estimator.gamma in (None, "auto") else estimator.gamma


class LeastSquares(Adapter):
    """alpha, one for all outputs or one for each."""

    def _check_alpha(self, alpha, y):
        if np.ndim(alpha) and np.shape(alpha) != y.shape[1:]:
            raise ValueError(f"alpha has shape {np.shape(alpha)}, but y {y.shape}")

    def _loss_and_ridge(self, values, train):
        total = train.weights.sum(1)
        if np.ndim(self.defaults["alpha"]):
            return losses.SquaredPerOutput(ValueOf(values, "alpha")), 1 / total
        return losses.Squared(), RidgeOf(values, "alpha", total)


class OfKernelRidge(LeastSquares):
    """alpha, and gamma and coef0 where the kernel has them."""

    def __init__(self, estimator, X, y):
        self.kernel = _check_kernel(estimator, SKLEARN_KERNELS)
        self.gamma_power = -1 if self.kernel[0] == "laplacian" else -2
        self._check_alpha(estimator.alpha, y)
        values = {"gamma": _gamma(estimator, X), "coef0": estimator.coef0}
        self.defaults = {"alpha": estimator.alpha, **{k: values[k] for k in USES[self.kernel[0]]}}

    def problem(self, values, train, test, outer_loss):
        """See Adapter."""
        inner, outer = samples(train, test)
        loss, ridge = self._loss_and_ridge(values, train)
        space = KernelOf(values, *self.kernel)
        return BilevelProblem(
            loss, outer_loss, inner, outer, space, ridge, n_outputs=n_outputs(train.y)
        )


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


class Classifier(Adapter):
    """Labels ±1 for two classes, 0…K−1 for more."""

    classifier = True

    def __init__(self, estimator, X, y):
        self.classes = np.unique(y)
        self.defaults = {"C": estimator.C}
        if estimator.class_weight is not None:
            raise ValueError(
                f"class_weight of {type(estimator).__name__} is not supported: give sample_weight "
                "to fit"
            )

    def encode(self, y):
        """See Adapter."""
        index = np.searchsorted(self.classes, y)
        return 2.0 * index - 1.0 if len(self.classes) == 2 else index

    def outer_loss(self):
        """The likelihood of the scores."""
        return losses.Logistic() if len(self.classes) == 2 else losses.Multinomial()


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


class OfSVC(Classifier):
    """C, gamma and coef0 of two-class machines; the hinge is smoothed over a width of 0.1."""

    def __init__(self, estimator, X, y):
        super().__init__(estimator, X, y)
        if len(self.classes) > 2:
            raise ValueError(
                "SVC has a smooth counterpart for two classes only: use LogisticRegression or "
                "kbo.KernelBilevelClassifier"
            )
        self.kernel = _check_kernel(estimator, set(SKLEARN_KERNELS) - {"laplacian"})
        values = {"gamma": _gamma(estimator, X), "coef0": estimator.coef0}
        self.defaults.update({k: values[k] for k in USES[self.kernel[0]]})

    def problem(self, values, train, test, outer_loss):
        """See Adapter."""
        inner, outer = samples(train, test)
        space = KernelOf(values, *self.kernel, constant=INTERCEPT**2)
        ridge = RidgeOf(values, "C", train.weights.sum(1))
        return BilevelProblem(SmoothHinge(), outer_loss, inner, outer, space, ridge)


class OfSVR(Adapter):
    """C, epsilon, gamma and coef0; the kinks are smoothed over 0.05 standard deviations of y."""

    def __init__(self, estimator, X, y):
        self.kernel = _check_kernel(estimator, set(SKLEARN_KERNELS) - {"laplacian"})
        values = {"gamma": _gamma(estimator, X), "coef0": estimator.coef0}
        self.defaults = {"C": estimator.C, "epsilon": estimator.epsilon}
        self.defaults.update({k: values[k] for k in USES[self.kernel[0]]})
        self.offset, self.spread = float(np.median(y)), float(np.std(y)) or 1.0

    def problem(self, values, train, test, outer_loss):
        """See Adapter."""
        inner, outer = samples(train._replace(y=train.y - self.offset), test)
        loss = SmoothInsensitive(values, 0.05 * self.spread)
        constant = (INTERCEPT * self.spread) ** 2
        return BilevelProblem(
            loss, Shifted(outer_loss, self.offset), inner, outer,
            KernelOf(values, *self.kernel, constant=constant),
            RidgeOf(values, "C", train.weights.sum(1)),
        )


