"""Kernels of an inner product ⟨x/lengthscale, z/lengthscale⟩."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from .base import Kernel


class Linear(Kernel):
    """k(x, z) = Σ_k x_k z_k / lengthscale_k² + offset."""

    lengthscale: jax.Array | float = 1.0
    offset: jax.Array | float = 0.0

    def evaluate(self, x, z):
        return jnp.sum((x / self.lengthscale) * (z / self.lengthscale)) + self.offset

    def matrix(self, x, z):
        return (x / self.lengthscale) @ (z / self.lengthscale).T + self.offset


class Polynomial(Kernel):
    """k(x, z) = (Σ_k x_k z_k / lengthscale_k² + offset)^degree; scikit-learn's gamma, coef0.

    Parameters
    ----------
    degree : int
        A positive integer, fixed (not a hyperparameter).
    """

    degree: int = eqx.field(static=True, default=3)
    lengthscale: jax.Array | float = 1.0
    offset: jax.Array | float = 1.0

    def __check_init__(self):
        if not isinstance(self.degree, int) or self.degree < 1:
            raise ValueError(f"degree={self.degree!r} must be a positive integer")

    def _linear(self):
        return Linear(self.lengthscale, self.offset)

    def evaluate(self, x, z):
        return self._linear().evaluate(x, z) ** self.degree

    def matrix(self, x, z):
        return jnp.power(self._linear().matrix(x, z), self.degree)
