"""Losses ℓ(ω, prediction, target) of one sample, and outer losses of all samples at once."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .arithmetic import resolve
from .targets import Classes, Counts, Real, Signs, Targets


class Loss(eqx.Module):
    """ℓ(ω, v, t) for one sample: prediction v (scalar or (p,)), target t.

    Class attributes
    ----------------
    constant_curvature : bool
        Whether ∂²ℓ/∂v² is the identity for all ω, v and t, so that one linear solve is exact.
    nonnegative : bool
        Whether ℓ ≥ 0, so that the logarithm of its mean may be minimised instead.
    targets : Targets or None
        The targets that the loss accepts; None leaves that open.
    """

    constant_curvature: ClassVar[bool] = False
    nonnegative: ClassVar[bool] = False
    targets: ClassVar[Targets | None] = None

    @abc.abstractmethod
    def __call__(self, omega, prediction, target) -> jax.Array:
        """The loss of one sample, a scalar."""

    def positive(self) -> tuple[str, ...]:
        """The names of the parameters that must be positive."""
        return ()

    def check(self, omega):
        """Raise for parameters that are invalid at ω.

        Raises
        ------
        ValueError
            If a parameter that must be positive is not.
        """
        for name in self.positive():
            value = np.asarray(resolve(getattr(self, name), omega))
            if not (value > 0).all():
                raise ValueError(f"{type(self).__name__}({name}={value}) must be positive")

    def probabilities(self, omega, prediction) -> jax.Array | None:
        """π (p,) if ∂²ℓ/∂v² = diag π − ππᵀ with Σπ = 1 for every target; None otherwise."""
        return None


class OwnLoss(Loss):
    """A user's function ℓ(ω, v, t), about which nothing more is known.

    Parameters
    ----------
    function : callable
    """

    function: Callable

    def __call__(self, omega, prediction, target):
        return self.function(omega, prediction, target)


def as_loss(loss):
    """A loss as it is, or a function wrapped as an OwnLoss; anything else is returned as it is."""
    known = isinstance(loss, Loss | Joint | type) or not callable(loss)
    return loss if known else OwnLoss(loss)


class Squared(Loss):
    """ℓ = ½‖v − t‖², summed over outputs."""

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
    """

    nonnegative = True
    targets = Real()
    alpha: Any

    def positive(self):
        """alpha must be positive."""
        return ("alpha",)

    def __call__(self, omega, prediction, target):
        return 0.5 * jnp.sum((prediction - target) ** 2 / resolve(self.alpha, omega))


class Logistic(Loss):
    """ℓ = Σ log(1 + exp(−t·v)) with t ∈ {−1, +1}, summed over outputs (one-versus-rest)."""

    nonnegative = True
    targets = Signs()

    def __call__(self, omega, prediction, target):
        return jnp.sum(jax.nn.softplus(-target * prediction))


class Multinomial(Loss):
    """ℓ = logsumexp(v) − v_t with an integer class t; curvature diag(π) − ππᵀ, p×p per sample."""

    nonnegative = True
    targets = Classes()

    def __call__(self, omega, prediction, target):
        return jax.nn.logsumexp(prediction) - prediction[jnp.asarray(target, int)]

    def probabilities(self, omega, prediction):
        """softmax(v)."""
        return jax.nn.softmax(prediction)


class Huber(Loss):
    """ℓ = ½u² for |u| ≤ δ, else δ(|u| − δ/2), with u = v − t, summed over outputs.

    Parameters
    ----------
    delta : float or callable of ω
        The |u| at which the loss becomes linear, in units of the target; positive.
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
    quantile: Any = 0.5
    width: Any = 0.1

    def positive(self):
        """width must be positive."""
        return ("width",)

    def check(self, omega):
        """Raise for a width that is not positive or a quantile outside (0, 1) at ω."""
        super().check(omega)
        quantile = np.asarray(resolve(self.quantile, omega))
        if not ((quantile > 0) & (quantile < 1)).all():
            raise ValueError(f"SmoothQuantile(quantile={quantile}) must be between 0 and 1")

    def __call__(self, omega, prediction, target):
        width = resolve(self.width, omega)
        u = target - prediction
        return jnp.sum(resolve(self.quantile, omega) * u + width * jax.nn.softplus(-u / width))


class Scaled(Loss):
    """ℓ(ω, v, t) = ℓ₀(ω, c·v, t): a loss of rescaled scores, for calibrating a classifier.

    Parameters
    ----------
    loss : callable
    scale : float or callable of ω
        c.
    """

    loss: Loss = eqx.field(converter=as_loss)
    scale: Any = 1.0

    def __check_init__(self):
        if not isinstance(self.loss, Loss):
            raise ValueError(f"loss={self.loss!r} must be a loss of one sample, or a callable")

    @property
    def nonnegative(self):
        """Whether ℓ₀ ≥ 0."""
        return self.loss.nonnegative

    @property
    def targets(self):
        """The targets that ℓ₀ accepts."""
        return self.loss.targets

    def check(self, omega):
        """Raise for parameters of ℓ₀ that are invalid at ω."""
        self.loss.check(omega)

    def __call__(self, omega, prediction, target):
        return self.loss(omega, resolve(self.scale, omega) * prediction, target)


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


class Joint(eqx.Module):
    """An outer loss of all predictions at once, rather than a mean over samples."""

    @abc.abstractmethod
    def __call__(self, omega, predictions, targets, weights) -> jax.Array:
        """L of predictions (m,) or (m, p), targets with leading axis m, weights (m,); a scalar."""


class Readout(Joint):
    """L = min_{u,b} (1/Σv) Σ_j v_j ½(y_j − h(x'_j)·u − b)² + (ridge/2)‖u‖²: a second stage.

    The minimum is computed in closed form, and differentiated as a function of h.

    Parameters
    ----------
    ridge : float or callable of ω

    References
    ----------
    Xu et al. (2021), Learning Deep Features in Instrumental Variable Regression, eq. (5).
    """

    ridge: Any = 1e-3

    def __call__(self, omega, predictions, targets, weights):
        share = weights / jnp.sum(weights)
        slopes, intercept = self.fit(omega, predictions, targets, weights)
        held = jax.lax.stop_gradient  # envelope theorem: u and b add nothing to ∂L
        errors = targets - predictions @ held(slopes) - held(intercept)
        ridge = resolve(self.ridge, omega)
        return 0.5 * jnp.sum(share * errors**2) + 0.5 * ridge * jnp.sum(held(slopes) ** 2)

    def fit(self, omega, predictions, targets, weights):
        """The minimisers u (p,) and b, a number."""
        share = weights / jnp.sum(weights)
        centre, mean = share @ predictions, share @ targets
        centred = predictions - centre
        gram = centred.T @ (share[:, None] * centred)
        ridge = resolve(self.ridge, omega) * jnp.eye(len(gram), dtype=gram.dtype)
        moments = (share * (targets - mean)) @ centred
        slopes = jax.scipy.linalg.solve(gram + ridge, moments, assume_a="pos")
        return slopes, mean - centre @ slopes
