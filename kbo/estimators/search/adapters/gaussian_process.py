"""Adapter of GaussianProcessRegressor: scikit-learn's kernels and their hyperparameters."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor

from .... import kernels, losses
from ....module import Module
from ....problem import BilevelProblem
from ....spaces import RKHS
from ..space import Values
from .base import Adapter, n_outputs, register_adapter, samples
from .gp_scale import (
    CONSTANT,
    NOISE,
    PRODUCT,
    SUM,
    complaints,
    held_out_ratio,
    scaled,
    scaling_constants,
)
from .parts import Shifted


class PeriodicDistance(kernels.Kernel):
    """k(x, z) = exp(−2 sin²(π‖x − z‖/period)/lengthscale²): scikit-learn's ExpSineSquared."""

    lengthscale: Any
    period: Any

    def evaluate(self, x, z):
        square = jnp.sum((x - z) ** 2)
        distance = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        sine = jnp.sin(jnp.pi * distance / self.period)
        return jnp.exp(-2 * (sine / self.lengthscale) ** 2)


LEAVES = {  # a kernel's hyperparameters, and the function from their values to kbo's kernel
    "RBF": (("length_scale",), kernels.Gaussian),
    "Matern 0.5": (("length_scale",), kernels.Matern12),
    "Matern 1.5": (("length_scale",), kernels.Matern32),
    "Matern 2.5": (("length_scale",), kernels.Matern52),
    "RationalQuadratic": (("length_scale", "alpha"), kernels.RationalQuadratic),
    CONSTANT: (("constant_value",), lambda c: kernels.Linear(jnp.inf, c)),
    "DotProduct": (("sigma_0",), lambda s: kernels.Linear(offset=s**2)),
    "ExpSineSquared": (("length_scale", "periodicity"), PeriodicDistance),
}
PAIRS = {SUM, PRODUCT}


def _described(kernel, prefix):
    """A kernel as nested tuples (name, prefix, parts), and its hyperparameters by full name.

    Raises
    ------
    ValueError
        If kbo has no counterpart of the kernel.
    """
    name = type(kernel).__name__
    name = f"{name} {float(kernel.nu)}" if name == "Matern" else name
    if name in PAIRS:
        sides = [_described(getattr(kernel, k), f"{prefix}__{k}") for k in ("k1", "k2")]
        if name == PRODUCT and any(_has_noise(side) for side, _ in sides):
            raise ValueError(f"kernel={kernel} multiplies a WhiteKernel: add it instead")
        return (name, prefix, tuple(side for side, _ in sides)), sides[0][1] | sides[1][1]
    if name == NOISE:
        return (name, prefix, ()), {f"{prefix}__noise_level": kernel.noise_level}
    if name not in LEAVES:
        raise ValueError(
            f"kernel={kernel} is not differentiable here: use {sorted({*LEAVES, NOISE, *PAIRS})}"
        )
    found = {f"{prefix}__{parameter}": getattr(kernel, parameter) for parameter in LEAVES[name][0]}
    return (name, prefix, ()), found


def _has_noise(described):
    name, _, sides = described
    return name == NOISE or any(map(_has_noise, sides))


def _translate(described, values):
    """kbo's counterpart of a kernel (None if it is noise alone), and its noise variance."""
    name, prefix, sides = described
    if name == NOISE:
        return None, values[f"{prefix}__noise_level"]
    if name in LEAVES:
        parameters, build = LEAVES[name]
        return build(*[values[f"{prefix}__{parameter}"] for parameter in parameters]), 0.0
    (left, noise), (right, more) = (_translate(side, values) for side in sides)
    if name == PRODUCT:
        return left * right, 0.0
    one = left if right is None else right
    return (one if left is None or right is None else left + right), noise + more


class KernelTree(Module):
    """ω ↦ the RKHS of a Gaussian process's kernel, without its noise."""

    values: Values
    described: tuple = eqx.field(static=True)

    def __call__(self, omega):
        return RKHS(_translate(self.described, self.values(omega))[0])


class NoiseRidge(Module):
    """ω ↦ (alpha + noise levels)/Σw."""

    values: Values
    described: tuple = eqx.field(static=True)
    total: Any

    def __call__(self, omega):
        values = self.values(omega)
        return (values["alpha"] + _translate(self.described, values)[1]) / self.total


@register_adapter(GaussianProcessRegressor)
class OfGaussianProcess(Adapter):
    """The posterior mean as kernel ridge regression.

    The parameters are alpha and every hyperparameter of the kernel, by its full name. The
    criterion depends on the ratios of the variances alone; ``finished`` sets their scale.
    """

    def __init__(self, estimator, X, y):
        if estimator.optimizer is not None:
            raise ValueError(
                "GaussianProcessRegressor tunes its kernel itself in fit: give optimizer=None"
            )
        if estimator.kernel is None or np.ndim(estimator.alpha):
            raise ValueError("GaussianProcessRegressor needs a kernel, and one number for alpha")
        self.described, named = _described(estimator.kernel, "kernel")
        if _translate(self.described, named)[0] is None:
            raise ValueError(f"kernel={estimator.kernel} is noise alone: add a kernel")
        self.estimator = estimator
        self.defaults = {"alpha": estimator.alpha, **named}
        self._noises = [k for k in self.defaults if k == "alpha" or k.endswith("__noise_level")]
        constants = [k for k in self.defaults if k.endswith("__constant_value")]
        self._variances = self._noises + constants
        self.shares_points = not estimator.normalize_y

    def problem(self, values, train, test, outer_loss):
        """Kernel ridge regression whose ridge is alpha plus the noise levels of the kernel."""
        if not self.shares_points:
            used = train.y[train.weights[0] > 0]
            mean, spread = used.mean(0), used.std(0)
            spread = np.where(spread > 0, spread, 1.0)
            train = train._replace(y=(train.y - mean) / spread)
            outer_loss = Shifted(outer_loss, mean, spread)
        inner, outer = samples(train, test)
        return BilevelProblem(
            losses.Squared(), outer_loss, inner, outer, KernelTree(values, self.described),
            NoiseRidge(values, self.described, train.weights.sum(1)),
            n_outputs=n_outputs(train.y),
        )

    def finished(self, values, dimensions, folds):
        """Set the scale of the variances from the held-out samples (see gp_scale)."""
        by_name = {d.name: d for d in dimensions}
        constants = scaling_constants(self.described, by_name)
        if not constants or not any(name in by_name for name in self._noises):
            return values
        c, _ = self._ratio(values, folds)
        if not (np.isfinite(c) and c > 0):
            return values
        everything = {**self.defaults, **values}
        return {**values, **scaled(everything, c, by_name, constants, self._noises)}

    def complaints(self, values, folds):
        """Warn if the predicted standard deviations do not match the held-out errors."""
        return complaints(*self._ratio(values, folds), self._variances)

    def _ratio(self, values, folds):
        return held_out_ratio(clone(self.estimator).set_params(**values), folds())
