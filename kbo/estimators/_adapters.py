"""scikit-learn's estimators as bilevel problems, in their own parameters.

An adapter says which parameters are differentiable, and turns one training set and one test set
into a BilevelProblem. What is fitted besides h (centring, scaling) happens here, anew for each
training set.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC, SVR

from .. import kernels, losses
from ..problem import BilevelProblem, Sample
from ..spaces import RKHS, FeatureSpace
from ._param_space import Values

INTERCEPT = 30.0  # an intercept is a feature of this size: its penalty is 1/900 of the others'


class Part(NamedTuple):
    """Points, targets and weights (F, n) of the training or the test sets."""

    X: Any
    y: np.ndarray
    weights: np.ndarray


class Shifted(losses.Loss):
    """ℓ(ω, offset + scale·v, t)."""

    loss: Any
    offset: Any
    scale: Any = 1.0

    def __call__(self, omega, prediction, target):
        return self.loss(omega, self.offset + self.scale * prediction, target)

    @property
    def nonnegative(self):
        """As the loss itself."""
        return getattr(self.loss, "nonnegative", False)


class SmoothHinge(losses.Loss):
    """ℓ = s·log(1 + exp((1 − t·v)/s)): the hinge loss, smoothed over a width s."""

    nonnegative = True
    width: Any = 0.1

    def __call__(self, omega, prediction, target):
        return jnp.sum(self.width * jax.nn.softplus((1 - target * prediction) / self.width))


class SmoothInsensitive(losses.Loss):
    """ℓ = max(|v − t| − ε, 0) with both kinks smoothed over a width s; ε = values(ω)["epsilon"]."""

    nonnegative = True
    values: Values
    width: Any

    def __call__(self, omega, prediction, target):
        epsilon, width = self.values(omega)["epsilon"], self.width
        u = prediction - target
        sides = jax.nn.softplus((u - epsilon) / width) + jax.nn.softplus((-u - epsilon) / width)
        return jnp.sum(width * sides)


class KernelOf(eqx.Module):
    """ω ↦ the RKHS of scikit-learn's kernel of this name, plus a constant for an intercept."""

    values: Values
    name: str = eqx.field(static=True)
    degree: int = eqx.field(static=True, default=3)
    constant: Any = None

    def __call__(self, omega):
        v = self.values(omega)
        kernel = SKLEARN_KERNELS[self.name](v, self.degree)
        if self.constant is not None:
            kernel = kernel + kernels.Linear(lengthscale=jnp.inf, offset=self.constant)
        return RKHS(kernel)


class SigmoidKernel(kernels.Kernel):
    """k(x, z) = tanh(γ x·z + c₀): not positive definite for every γ and c₀."""

    gamma: Any
    coef0: Any

    def evaluate(self, x, z):
        return jnp.tanh(self.gamma * (x @ z) + self.coef0)


SKLEARN_KERNELS = {
    "linear": lambda v, degree: kernels.Linear(),
    "rbf": lambda v, degree: kernels.Gaussian(1 / jnp.sqrt(2 * v["gamma"])),
    "laplacian": lambda v, degree: kernels.Laplacian(1 / v["gamma"]),
    "poly": lambda v, degree: kernels.Polynomial(degree, 1 / jnp.sqrt(v["gamma"]), v["coef0"]),
    "sigmoid": lambda v, degree: SigmoidKernel(v["gamma"], v["coef0"]),
}
USES = {"linear": (), "rbf": ("gamma",), "laplacian": ("gamma",), "poly": ("gamma", "coef0"),
        "sigmoid": ("gamma", "coef0")}


class FixedSpace(eqx.Module):
    """ω ↦ linear functions of the points and, where ``constant`` is not zero, of a constant."""

    constant: Any

    def __call__(self, omega):
        return FeatureSpace(LinearFeatures(self.constant))


class LinearFeatures(eqx.Module):
    """x ↦ (x, constant)."""

    constant: Any

    def __call__(self, x):
        return jnp.concatenate([x, jnp.reshape(self.constant, (1,))])


class RidgeOf(eqx.Module):
    """ω ↦ alpha/Σw, or 1/(C Σw)."""

    values: Values
    name: str = eqx.field(static=True)
    total: Any

    def __call__(self, omega):
        value = self.values(omega)[self.name]
        return (1 / value if self.name == "C" else value) / self.total


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

    @abc.abstractmethod
    def problem(self, values, train, test, outer_loss) -> BilevelProblem:
        """Train on one part, judge on the other; the same X object where points are shared."""

    def encode(self, y) -> np.ndarray:
        """Targets as losses want them."""
        return np.asarray(y, float)

    def outer_loss(self) -> losses.Loss:
        """What the criterion is where none is asked for."""
        return losses.Squared()


def _samples(train, test):
    inner = Sample(train.X, train.y, train.weights)
    x = inner.x if test.X is train.X else test.X
    return inner, Sample(x, test.y, test.weights)


def _n_outputs(y):
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


class OfKernelRidge(Adapter):
    """alpha, and gamma and coef0 where the kernel has them."""

    def __init__(self, estimator, X, y):
        self.kernel = _check_kernel(estimator, SKLEARN_KERNELS)
        if np.ndim(estimator.alpha):
            raise ValueError("alpha of KernelRidge must be one number, not one for each target")
        values = {"gamma": _gamma(estimator, X), "coef0": estimator.coef0}
        self.defaults = {"alpha": estimator.alpha, **{k: values[k] for k in USES[self.kernel[0]]}}

    def problem(self, values, train, test, outer_loss):
        """See Adapter."""
        inner, outer = _samples(train, test)
        ridge = RidgeOf(values, "alpha", train.weights.sum(1))
        space = KernelOf(values, *self.kernel)
        return BilevelProblem(
            losses.Squared(), outer_loss, inner, outer, space, ridge, n_outputs=_n_outputs(train.y)
        )


class OfRidge(Adapter):
    """alpha; X and y are centred on each training set where there is an intercept."""

    def __init__(self, estimator, X, y):
        if np.ndim(estimator.alpha):
            raise ValueError("alpha of Ridge must be one number, not one for each target")
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
        inner, outer = _samples(train, test)
        ridge = RidgeOf(values, "alpha", train.weights.sum(1))
        return BilevelProblem(
            losses.Squared(), outer_loss, inner, outer, FixedSpace(0.0), ridge,
            n_outputs=_n_outputs(train.y),
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
        inner, outer = _samples(train._replace(X=X), test)
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
        inner, outer = _samples(train, test)
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
        inner, outer = _samples(train._replace(y=train.y - self.offset), test)
        loss = SmoothInsensitive(values, 0.05 * self.spread)
        constant = (INTERCEPT * self.spread) ** 2
        return BilevelProblem(
            loss, Shifted(outer_loss, self.offset), inner, outer,
            KernelOf(values, *self.kernel, constant=constant),
            RidgeOf(values, "C", train.weights.sum(1)),
        )


ADAPTERS: dict[type, type[Adapter]] = {
    KernelRidge: OfKernelRidge, Ridge: OfRidge, LogisticRegression: OfLogisticRegression,
    SVC: OfSVC, SVR: OfSVR,
}
