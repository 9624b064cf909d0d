"""The losses of regression by name, in the units of the targets."""

from __future__ import annotations

from numbers import Real
from typing import Any

import jax.numpy as jnp
import numpy as np

from ... import losses
from .._common.scale import center_and_spread
from .._common.validation import as_loss

ROBUST = ("huber", "quantile")
HUBER = 1.345  # robust standard deviations: 95 % of least squares' efficiency on normal residuals
LEAST_SCALE = 0.01  # of y's spread: below it a robust loss is hardly smooth
LOSSES = {
    "squared": losses.Squared,
    "huber": losses.Huber,
    "quantile": losses.SmoothQuantile,
    "poisson": losses.Poisson,
}


class OfTheMean(losses.Loss):
    """ℓ(ω, exp(v), t): a loss of the mean where scores are its logarithm."""

    loss: Any

    def __call__(self, omega, prediction, target):
        return self.loss(omega, jnp.exp(prediction), target)

    @property
    def nonnegative(self):
        """As the loss of the mean."""
        return getattr(self.loss, "nonnegative", False)


def _weighted_quantile(y, weight, quantile):
    """The value with ``quantile`` of the weight below it, per output, midway between two that tie.
    """
    out = []
    for column in y.reshape(len(y), -1).T:
        order = np.argsort(column, kind="stable")
        reached, level = np.cumsum(weight[order]), quantile * weight.sum()
        ends = (reached >= level * (1 - 1e-12)).argmax(), (reached > level * (1 + 1e-12)).argmax()
        out.append(column[order][list(ends)].mean())
    return np.array(out).reshape(y.shape[1:])


class QuantileInUnits(losses.SmoothQuantile):
    """unit·ℓ, of the square of the targets' units as other losses: a ridge then has none."""

    unit: Any = 1.0

    def __call__(self, omega, prediction, target):
        return self.unit * super().__call__(omega, prediction, target)


def start_loss(argument, value, quantile, unit, scale=None):
    """A loss as it is, or a named one in the units of y.

    Parameters
    ----------
    argument : str
        Whose ``value`` it is.
    quantile : float
    unit : float
        The spread of y.
    scale : float, optional
        Of the residuals, in whose units robust losses are; by default the spread of y.

    Raises
    ------
    ValueError
        For an unknown loss, or a quantile outside (0, 1).
    """
    loss = as_loss(value, LOSSES, argument)
    if not isinstance(value, str):
        return loss
    scale = unit if scale is None else scale
    if value == "huber":
        return losses.Huber(delta=HUBER * scale)
    if value == "quantile":
        if not (isinstance(quantile, Real) and 0 < quantile < 1):
            raise ValueError(f"quantile={quantile!r} must lie strictly between 0 and 1")
        return QuantileInUnits(quantile=float(quantile), width=0.1 * scale, unit=unit)
    return loss


def spread_of(y, weight):
    """One robust spread of all outputs; 1 if they are constant."""
    spread = center_and_spread(y.reshape(len(y), -1), weight)[1]
    return float(np.sqrt(np.mean(spread**2))) or 1.0


def best_constant(loss, y, weight):
    """The best constant prediction, or nearly so: h models what is left."""
    if isinstance(loss, losses.Huber):
        return _weighted_quantile(y, weight, 0.5)
    if isinstance(loss, losses.SmoothQuantile):
        return _weighted_quantile(y, weight, loss.quantile)
    mean = np.asarray(np.average(y, axis=0, weights=weight))
    return np.log(np.maximum(mean, 1e-8)) if isinstance(loss, losses.Poisson) else mean
