"""Losses of regression by name, with parameters in the units of the targets."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from ... import losses
from .._common.scale import center_and_spread
from .._common.validation import loss_by_name

ROBUST = ("huber", "quantile")
HUBER = 1.345  # in robust standard deviations; 95 % as efficient as least squares if normal
LEAST_SCALE = 0.01  # smallest scale relative to the spread of y; below, the loss is hardly smooth


class OfTheMean(losses.Loss):
    """ℓ(ω, exp(v), t): a loss of the mean, where predictions are the logarithm of the mean."""

    loss: Any

    def __call__(self, omega, prediction, target):
        return self.loss(omega, jnp.exp(prediction), target)

    @property
    def nonnegative(self):
        """Whether the loss is never negative."""
        return getattr(self.loss, "nonnegative", False)


def _weighted_quantile(y, weight, quantile):
    """The weighted quantile of each output, midway between two values if they tie."""
    out = []
    for column in y.reshape(len(y), -1).T:
        order = np.argsort(column, kind="stable")
        reached, level = np.cumsum(weight[order]), quantile * weight.sum()
        ends = (reached >= level * (1 - 1e-12)).argmax(), (reached > level * (1 + 1e-12)).argmax()
        out.append(column[order][list(ends)].mean())
    return np.array(out).reshape(y.shape[1:])


class QuantileInUnits(losses.SmoothQuantile):
    """unit·ℓ, which like other losses has the unit of y²; alpha is then free of units."""

    fixed: ClassVar[tuple[str, ...]] = ("quantile", "unit")
    unit: Any = 1.0

    def __call__(self, omega, prediction, target):
        return self.unit * super().__call__(omega, prediction, target)


def start_loss(argument, value, quantile, unit, scale=None):
    """The loss for an argument: a named loss at its start values, other losses as they are.

    Parameters
    ----------
    argument : str
        The name of the estimator's parameter, for messages.
    value : str, Loss or callable
        Its value.
    quantile : float
    unit : float
        The spread of y.
    scale : float, optional
        The scale of the residuals, which sets the parameters of robust losses; by default ``unit``.

    Raises
    ------
    ValueError
        For an unknown loss, or a quantile outside (0, 1).
    """
    loss = loss_by_name(value, losses.NAMED, argument)
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
    """The robust spread of y, the root mean square over outputs; 1 if all are constant."""
    spread = center_and_spread(y.reshape(len(y), -1), weight)[1]
    return float(np.sqrt(np.mean(spread**2))) or 1.0


def best_constant(loss, y, weight):
    """The (nearly) best constant prediction for a loss; h models the difference to it."""
    if isinstance(loss, losses.Huber):
        return _weighted_quantile(y, weight, 0.5)
    if isinstance(loss, losses.SmoothQuantile):
        return _weighted_quantile(y, weight, loss.quantile)
    mean = np.asarray(np.average(y, axis=0, weights=weight))
    return np.log(np.maximum(mean, 1e-8)) if isinstance(loss, losses.Poisson) else mean
