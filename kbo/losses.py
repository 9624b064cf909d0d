"""Pointwise losses ℓ(ω, prediction, target); they see one sample at a time."""

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
        ∂²ℓ/∂v² is the identity whatever ω, v and t: one linear solve is exact.
    nonnegative : bool
        Never below zero, so that its logarithm may be minimised instead.
    targets : Targets or None
        What it can be given; None leaves that open.
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
        """Refuse parameters that make no loss at ω.

        Raises
        ------
        ValueError
            For a parameter that must be positive and is not.
        """
        for name in self.positive():
            value = np.asarray(resolve(getattr(self, name), omega))
            if not (value > 0).all():
                raise ValueError(f"{type(self).__name__}({name}={value}) must be positive")

    def probabilities(self, omega, prediction) -> jax.Array | None:
        """π (p,) where ∂²ℓ/∂v² = diag π − ππᵀ whatever the target, Σπ = 1; None otherwise."""
        return None


class OwnLoss(Loss):
    """A user's function ℓ(ω, v, t), of which nothing more is known.

    Parameters
    ----------
    function : callable
    """

    function: Callable

    def __call__(self, omega, prediction, target):
        return self.function(omega, prediction, target)


def as_loss(loss):
    """A loss as it is, a function as an OwnLoss; what is neither, for others to refuse."""
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
    """ℓ = ½ Σ_p (v_p − t_p)²/alpha_p: with ridge 1/Σw, each output has the ridge alpha_p/Σw.

    Parameters
    ----------
    alpha : array (p,), or callable of ω
    """

    nonnegative = True
    targets = Real()
    alpha: Any

    def positive(self):
        """See Loss."""
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
        Where the loss turns linear, in units of the target; positive.
    """

    nonnegative = True
    targets = Real()
    delta: Any = 1.0

    def positive(self):
        """See Loss."""
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

    Tends to the pinball loss max(τu, (τ−1)u) as s → 0 and exceeds it by at most s·log 2.

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
        """See Loss."""
        return ("width",)

    def check(self, omega):
        """See Loss."""
        super().check(omega)
        quantile = np.asarray(resolve(self.quantile, omega))
        if not ((quantile > 0) & (quantile < 1)).all():
            raise ValueError(f"SmoothQuantile(quantile={quantile}) must be between 0 and 1")

    def __call__(self, omega, prediction, target):
        width = resolve(self.width, omega)
        u = target - prediction
        return jnp.sum(resolve(self.quantile, omega) * u + width * jax.nn.softplus(-u / width))


class Scaled(Loss):
    """ℓ(ω, v, t) = ℓ₀(ω, c·v, t): a loss of rescaled scores, to calibrate a classifier.

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
        """As the loss that is scaled."""
        return self.loss.nonnegative

    @property
    def targets(self):
        """As the loss that is scaled."""
        return self.loss.targets

    def check(self, omega):
        """See Loss."""
        self.loss.check(omega)

    def __call__(self, omega, prediction, target):
        return self.loss(omega, resolve(self.scale, omega) * prediction, target)


class SquaredTo(Loss):
    """ℓ = ½‖v − T(ω, t)‖²: the target moves with ω, as features of a treatment that are learned do.

    Parameters
    ----------
    target_map : callable
        T, (ω, t of one sample) to a number or (p,).
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
        """L of predictions (m,) or (m, p), targets with leading axis m, weights (m,): a scalar."""


class Readout(Joint):
    """L = min_{u,b} (1/Σv) Σ_j v_j ½(y_j − h(x'_j)·u − b)² + (ridge/2)‖u‖²: a second stage.

    The minimum is taken in closed form, and differentiated as the function of h that it is.

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
        held = jax.lax.stop_gradient  # the minimiser adds nothing to the first derivative
        errors = targets - predictions @ held(slopes) - held(intercept)
        ridge = resolve(self.ridge, omega)
        return 0.5 * jnp.sum(share * errors**2) + 0.5 * ridge * jnp.sum(held(slopes) ** 2)

    def fit(self, omega, predictions, targets, weights):
        """The minimisers u (p,) and b."""
        share = weights / jnp.sum(weights)
        centre, mean = share @ predictions, share @ targets
        centred = predictions - centre
        gram = centred.T @ (share[:, None] * centred)
        ridge = resolve(self.ridge, omega) * jnp.eye(len(gram), dtype=gram.dtype)
        moments = (share * (targets - mean)) @ centred
        slopes = jax.scipy.linalg.solve(gram + ridge, moments, assume_a="pos")
        return slopes, mean - centre @ slopes
