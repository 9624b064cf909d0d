"""Adapters of kbo's own estimators with ``tune=()``, so that they do not tune themselves."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np

from .... import losses
from ....module import Module
from ....problem import BilevelProblem
from ....spaces import RKHS
from ..._common.scale import Units
from ..._common.start import chosen_kernel, kernel_names, mixture, start_kernel
from ...kernel.classifier import SQUARED_SCALE, KernelBilevelClassifier, likelihood_parts
from ...kernel.criterion import criterion_name
from ...kernel.losses import best_constant, spread_of, start_loss
from ...kernel.regressor import KernelBilevelRegressor
from ..space import Values
from .base import Adapter, Classifier, n_outputs, register_adapter, samples
from .parts import RidgeOf, Shifted


class NamedKernel(Module):
    """ω ↦ the RKHS of the named kernel at ω's lengthscale, or of ``kernel`` if none is searched."""

    values: Values
    names: tuple = eqx.field(static=True)
    kernel: Any
    units: Any

    def __call__(self, omega):
        if "lengthscale" not in dict(self.values.logs):  # not searched
            return RKHS(self.kernel)
        return RKHS(mixture(self.names, self.values(omega)["lengthscale"], self.units))


class _OfKbo:
    """Base of both adapters. The parameters: alpha, and the lengthscale of named kernels."""

    shares_points = False  # the offset is fitted to each training set

    def _read(self, estimator, X, y, loss):
        if estimator.tune is None or tuple(np.atleast_1d(estimator.tune)):
            raise ValueError(f"{type(estimator).__name__} tunes itself in fit: give tune=()")
        if estimator.groups is not None or np.ndim(estimator.alpha):
            raise ValueError(
                "groups, and an alpha for each output, cannot be searched from outside: let the "
                "estimator tune them itself (tune=None)"
            )
        self.estimator, weight = estimator, np.ones(len(X))
        criterion = criterion_name(estimator, loss, y, weight)
        given = chosen_kernel(estimator.kernel, criterion == "marginal_likelihood")
        self.names = kernel_names(given)
        units = Units.of(X, weight)
        self.kernel = start_kernel(given, estimator.lengthscale, units)
        self.units = units
        self.defaults = {"alpha": estimator.alpha}
        if self.names is not None:
            first = self.kernel
            while not hasattr(first, "lengthscale"):
                first = getattr(first, "left", getattr(first, "kernel", None))
            length = first.lengthscale
            if estimator.ard is False:  # a single number, the root mean square over features
                length = np.sqrt(np.mean(length[np.isfinite(length)] ** 2))
            self.defaults["lengthscale"] = length

    def _problem(self, values, train, test, inner_loss, outer_loss, outputs):
        inner, outer = samples(train, test)
        return BilevelProblem(
            inner_loss, outer_loss, inner, outer,
            NamedKernel(values, self.names, self.kernel, self.units),
            RidgeOf(values, "alpha", train.weights.sum(1)), n_outputs=outputs,
        )


@register_adapter(KernelBilevelRegressor)
class OfKboRegressor(_OfKbo, Adapter):
    """KernelBilevelRegressor with ``tune=()``."""

    def __init__(self, estimator, X, y):
        loss = start_loss("loss", estimator.loss, estimator.quantile, 1.0)
        self._read(estimator, X, y, loss)
        if estimator.loss == "poisson":
            raise ValueError("loss='poisson' is not supported here: let the estimator tune itself")

    def problem(self, values, train, test, outer_loss):
        """The estimator's fit, with the offset and the loss's units from the training set."""
        weight = train.weights[0]
        est = self.estimator
        inner = start_loss("loss", est.loss, est.quantile, spread_of(train.y, weight))
        offset = best_constant(inner, train.y, weight)
        if isinstance(inner, losses.Squared):
            train = train._replace(y=train.y - offset)
        else:
            inner = Shifted(inner, offset)
        outer_loss = Shifted(outer_loss, offset)
        return self._problem(values, train, test, inner, outer_loss, n_outputs(train.y))


@register_adapter(KernelBilevelClassifier)
class OfKboClassifier(_OfKbo, Classifier):
    """KernelBilevelClassifier with ``tune=()``.

    With loss="squared" the outer loss judges the scores times SQUARED_SCALE, as calibration starts.
    """

    def __init__(self, estimator, X, y):
        self.classes = np.unique(y)
        self._read(estimator, X, y, losses.Logistic())

    def problem(self, values, train, test, outer_loss):
        """The estimator's fit, with the constant scores taken from the training set."""
        K = len(self.classes)
        index = train.y if K > 2 else (train.y > 0).astype(int)
        inner, inner_y, _, offset = likelihood_parts(
            self.estimator.loss, index, K, train.weights[0]
        )
        if isinstance(inner, losses.Squared):
            inner_y = inner_y - offset
            outer_loss = Shifted(outer_loss, SQUARED_SCALE * offset, SQUARED_SCALE)
        else:
            inner, outer_loss = Shifted(inner, offset), Shifted(outer_loss, offset)
        train = train._replace(y=inner_y)
        return self._problem(values, train, test, inner, outer_loss, None if K == 2 else K)
