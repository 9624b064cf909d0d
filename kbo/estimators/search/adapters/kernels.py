"""Adapters of KernelRidge and of support vector machines."""

from __future__ import annotations

import numpy as np
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC, SVR

from ....problem import BilevelProblem
from .base import Adapter, Classifier, LeastSquares, n_outputs, register_adapter, samples
from .linear import INTERCEPT
from .parts import (
    SKLEARN_KERNELS,
    USES,
    KernelOf,
    RidgeOf,
    Shifted,
    SmoothHinge,
    SmoothInsensitive,
)


def check_kernel(estimator, known):
    """The name of the estimator's kernel, which must be among ``known``, and its degree."""
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


def gamma_of(estimator, X):
    """The value of gamma, which may be given as None, "scale" or "auto"."""
    if estimator.gamma == "scale":
        return 1.0 / (X.shape[1] * (X.var() or 1.0))
    return 1.0 / X.shape[1] if estimator.gamma in (None, "auto") else estimator.gamma


@register_adapter(KernelRidge)
class OfKernelRidge(LeastSquares):
    """KernelRidge. The parameters: alpha, and gamma and coef0 if the kernel has them."""

    def __init__(self, estimator, X, y):
        self.kernel = check_kernel(estimator, SKLEARN_KERNELS)
        self.gamma_power = -1 if self.kernel[0] == "laplacian" else -2
        self._check_alpha(estimator.alpha, y)
        values = {"gamma": gamma_of(estimator, X), "coef0": estimator.coef0}
        self.defaults = {"alpha": estimator.alpha, **{k: values[k] for k in USES[self.kernel[0]]}}

    def problem(self, values, train, test, outer_loss):
        """Kernel ridge regression, with a common alpha or one for each output."""
        inner, outer = samples(train, test)
        loss, ridge = self._loss_and_ridge(values, train)
        space = KernelOf(values, *self.kernel)
        return BilevelProblem(
            loss, outer_loss, inner, outer, space, ridge, n_outputs=n_outputs(train.y)
        )


@register_adapter(SVC)
class OfSVC(Classifier):
    """SVC for two classes, with the hinge loss smoothed over a width of 0.1.

    The parameters: C, and gamma and coef0 if the kernel has them.
    """

    def __init__(self, estimator, X, y):
        super().__init__(estimator, X, y)
        if len(self.classes) > 2:
            raise ValueError(
                "SVC has a smooth counterpart for two classes only: use LogisticRegression or "
                "kbo.KernelBilevelClassifier"
            )
        self.kernel = check_kernel(estimator, set(SKLEARN_KERNELS) - {"laplacian"})
        values = {"gamma": gamma_of(estimator, X), "coef0": estimator.coef0}
        self.defaults.update({k: values[k] for k in USES[self.kernel[0]]})

    def problem(self, values, train, test, outer_loss):
        """The smoothed machine; its intercept is a weakly penalised constant in the kernel."""
        inner, outer = samples(train, test)
        space = KernelOf(values, *self.kernel, constant=INTERCEPT**2)
        ridge = RidgeOf(values, "C", train.weights.sum(1))
        return BilevelProblem(SmoothHinge(), outer_loss, inner, outer, space, ridge)


@register_adapter(SVR)
class OfSVR(Adapter):
    """SVR, with the kinks of its loss smoothed over 0.05 standard deviations of y.

    The parameters: C, epsilon, and gamma and coef0 if the kernel has them.
    """

    def __init__(self, estimator, X, y):
        self.kernel = check_kernel(estimator, set(SKLEARN_KERNELS) - {"laplacian"})
        values = {"gamma": gamma_of(estimator, X), "coef0": estimator.coef0}
        self.defaults = {"C": estimator.C, "epsilon": estimator.epsilon}
        self.defaults.update({k: values[k] for k in USES[self.kernel[0]]})
        self.offset, self.spread = float(np.median(y)), float(np.std(y)) or 1.0

    def problem(self, values, train, test, outer_loss):
        """The smoothed machine on y less its median, with an intercept as for SVC."""
        inner, outer = samples(train._replace(y=train.y - self.offset), test)
        loss = SmoothInsensitive(values, 0.05 * self.spread)
        constant = (INTERCEPT * self.spread) ** 2
        return BilevelProblem(
            loss, Shifted(outer_loss, self.offset), inner, outer,
            KernelOf(values, *self.kernel, constant=constant),
            RidgeOf(values, "C", train.weights.sum(1)),
        )
