"""Losses of classes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..arithmetic import resolve
from ..targets import Classes, Signs
from .base import Loss, as_loss


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


class ScaledLoss(Loss):
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
