"""Losses, spaces and ridges from which the adapters build their problems."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .... import kernels, losses
from ....module import Module
from ....regularizers import L1
from ....spaces import RKHS, FeatureSpace, RegularizedFeatures
from ..space import Values


class Shifted(losses.Loss):
    """ℓ(ω, offset + scale·v, t).

    Parameters
    ----------
    loss : callable
        ℓ.
    offset, scale : float or array (p,)
    """

    loss: Any
    offset: Any
    scale: Any = 1.0

    def __call__(self, omega, prediction, target):
        return self.loss(omega, self.offset + self.scale * prediction, target)

    @property
    def nonnegative(self):
        """Whether the loss is never negative."""
        return getattr(self.loss, "nonnegative", False)


def centred(train, test, outer_loss):
    """Both Parts and the outer loss for a model with an intercept, centred by the training means.
    """
    weights = train.weights[0]
    x, y = (np.average(v, axis=0, weights=weights) for v in (train.X, train.y))
    train, test = train._replace(X=train.X - x, y=train.y - y), test._replace(X=test.X - x)
    return train, test, Shifted(outer_loss, y)


class Mapped(losses.Loss):
    """ℓ(ω, g(v), t), where g takes and returns a table (1, p), as transformers do."""

    loss: Any
    function: Any = eqx.field(static=True)

    def __call__(self, omega, prediction, target):
        table = jnp.reshape(prediction, (1, -1))
        return self.loss(omega, jnp.reshape(self.function(table), jnp.shape(prediction)), target)


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


class KernelOf(Module):
    """ω ↦ the RKHS of scikit-learn's kernel of this name, plus ``constant`` for an intercept.

    Parameters
    ----------
    values : Values
        ω ↦ the estimator's parameters by name.
    name : str
        "linear", "rbf", "laplacian", "poly" or "sigmoid".
    degree : int
        Of "poly".
    constant : float, optional
        Without it there is no intercept.
    """

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
    """k(x, z) = tanh(γ x·z + c₀), which is not positive definite for every γ and c₀."""

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


class FixedSpace(Module):
    """ω ↦ the linear functions of (x, constant); with ``constant`` zero, of x alone.

    Parameters
    ----------
    constant : float or array (k,)
    """

    constant: Any

    def __call__(self, omega):
        return FeatureSpace(LinearFeatures(self.constant))


class ElasticSpace(Module):
    """ω ↦ the linear functions of x, with strength(ω)·‖θ‖₁."""

    strength: Any

    def __call__(self, omega):
        return RegularizedFeatures(LinearFeatures(jnp.zeros(0)), L1(self.strength(omega)))


class LinearFeatures(Module):
    """x ↦ (x, constant), or x where there is none (0,)."""

    constant: Any

    def __call__(self, x):
        return jnp.concatenate([x, jnp.ravel(self.constant)])


class ValueOf(Module):
    """ω ↦ the estimator's parameter of this name.

    Parameters
    ----------
    values : Values
        ω ↦ the estimator's parameters by name.
    name : str
    """

    values: Values
    name: str = eqx.field(static=True)

    def __call__(self, omega):
        return self.values(omega)[self.name]


class ShareOf(Module):
    """ω ↦ alpha·l1_ratio, or the ``rest``, alpha·(1 − l1_ratio); l1_ratio is 1 if not a parameter.
    """

    values: Values
    rest: bool = eqx.field(static=True, default=False)

    def __call__(self, omega):
        values = self.values(omega)
        share = values.get("l1_ratio", 1.0)
        return values["alpha"] * (1 - share if self.rest else share)


class RidgeOf(Module):
    """ω ↦ alpha/Σw, or 1/(C Σw) if the parameter's name is "C".

    Parameters
    ----------
    values : Values
        ω ↦ the estimator's parameters by name.
    name : str
    total : array (F,)
        Σw of each training set.
    """

    values: Values
    name: str = eqx.field(static=True)
    total: Any

    def __call__(self, omega):
        value = self.values(omega)[self.name]
        return (1 / value if self.name == "C" else value) / self.total
