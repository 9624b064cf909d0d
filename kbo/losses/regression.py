"""Losses of numbers and vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import is_traced, resolve
from ..targets import Counts, Real
from .base import Loss


class Squared(Loss):
    """ℓ = ½‖v − t‖², summed over outputs.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> print(kbo.losses.Squared()(None, jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0])))
    2.5
    """

    constant_curvature = True
    nonnegative = True
    targets = Real()

    def __call__(self, omega, prediction, target):
        return 0.5 * jnp.sum((prediction - target) ** 2)


class SquaredPerOutput(Loss):
    """ℓ = ½ Σ_p (v_p − t_p)²/alpha_p: with the ridge 1/Σw, output p has the ridge alpha_p/Σw.

    Parameters
    ----------
    alpha : array (p,), or callable of ω
        Positive.
    """

    nonnegative = True
    targets = Real()
    alpha: Any

    def positive(self):
        """alpha must be positive."""
        return ("alpha",)

    def __call__(self, omega, prediction, target):
        return 0.5 * jnp.sum((prediction - target) ** 2 / resolve(self.alpha, omega))


class SquaredTo(Loss):
    """ℓ = ½‖v − T(ω, t)‖²: the target depends on ω, as learned features of a treatment do.

    Parameters
    ----------
    target_map : callable
        T, which maps ω and one sample's t to a number or to (p,).
    """

    constant_curvature = True
    nonnegative = True
    target_map: Callable

    def __call__(self, omega, prediction, target):
        return 0.5 * jnp.sum((prediction - self.target_map(omega, target)) ** 2)


class Huber(Loss):
    """``ℓ = ½u²`` for ``|u| ≤ δ``, else ``δ(|u| − δ/2)``, with u = v − t, summed over outputs.

    Parameters
    ----------
    delta : float or callable of ω
        The size of u at which the loss becomes linear, in units of the target; positive.
    """

    nonnegative = True
    targets = Real()
    delta: Any = 1.0

    def positive(self):
        """delta must be positive."""
        return ("delta",)

    def __call__(self, omega, prediction, target):
        delta = resolve(self.delta, omega)
        size = jnp.abs(prediction - target)
        clipped = jnp.minimum(size, delta)
        return jnp.sum(clipped * (size - 0.5 * clipped))


class Poisson(Loss):
    """ℓ = exp(v) − t·v: the Poisson likelihood with log link, for counts t ≥ 0."""

    targets = Counts()

    def __call__(self, omega, prediction, target):
        return jnp.sum(jnp.exp(prediction) - target * prediction)


class SmoothQuantile(Loss):
    """ℓ = τu + s·log(1 + exp(−u/s)), u = t − v: the pinball loss, smoothed over a width s.

    It tends to the pinball loss max(τu, (τ−1)u) as s → 0, and exceeds it by at most s·log 2.

    Parameters
    ----------
    quantile : float or callable of ω
        τ in (0, 1).
    width : float or callable of ω
        s > 0, in units of the target.
    """

    nonnegative = True
    targets = Real()
    fixed: ClassVar[tuple[str, ...]] = ("quantile",)
    quantile: Any = 0.5
    width: Any = 0.1

    def positive(self):
        """width must be positive."""
        return ("width",)

    def check(self, omega):
        """Raise for a width that is not positive or a quantile outside (0, 1) at ω."""
        super().check(omega)
        quantile = resolve(self.quantile, omega)
        if is_traced(quantile):
            return
        if not ((np.asarray(quantile) > 0) & (np.asarray(quantile) < 1)).all():
            raise ValueError(f"SmoothQuantile(quantile={quantile}) must be between 0 and 1")

    def __call__(self, omega, prediction, target):
        width = resolve(self.width, omega)
        u = target - prediction
        return jnp.sum(resolve(self.quantile, omega) * u + width * jax.nn.softplus(-u / width))
