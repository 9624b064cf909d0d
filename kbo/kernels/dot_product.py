"""Kernels that are functions of ⟨(x − center)/lengthscale, (z − center)/lengthscale⟩."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .base import Kernel


class Linear(Kernel):
    """k(x, z) = Σ_k (x_k − center_k)(z_k − center_k) / lengthscale_k² + offset.

    Parameters
    ----------
    lengthscale : float or array (d,)
        In the units of the points; positive.
    offset : float
        Not negative; it penalises a constant part of h less the larger it is.
    center : float or array (d,)
        In the units of the points; it is not tuned.
    """

    fixed: ClassVar[tuple[str, ...]] = ("center",)
    lengthscale: jax.Array | float = 1.0
    offset: jax.Array | float = 0.0
    center: jax.Array | float = 0.0

    def evaluate(self, x, z):
        return jnp.sum(self._scaled(x) * self._scaled(z)) + self.offset

    def matrix(self, x, z):
        return self._scaled(x) @ self._scaled(z).T + self.offset

    def _scaled(self, x):
        return (x - self.center) / self.lengthscale


class Polynomial(Kernel):
    """k(x, z) = (Σ_k (x_k − center_k)(z_k − center_k) / lengthscale_k² + offset)^degree.

    In scikit-learn's terms, gamma is 1/lengthscale² and coef0 is the offset; the center is 0.

    Parameters
    ----------
    degree : int
        A positive integer, which is fixed: it is not a hyperparameter.
    lengthscale : float or array (d,)
        In the units of the points; positive.
    offset : float
        Not negative.
    center : float or array (d,)
        In the units of the points; it is not tuned.
    """

    fixed: ClassVar[tuple[str, ...]] = ("center",)
    degree: int = eqx.field(static=True, default=3)
    lengthscale: jax.Array | float = 1.0
    offset: jax.Array | float = 1.0
    center: jax.Array | float = 0.0

    def __check_init__(self):
        if not isinstance(self.degree, int) or self.degree < 1:
            raise ValueError(f"degree={self.degree!r} must be a positive integer")

    def _linear(self):
        return Linear(self.lengthscale, self.offset, self.center)

    def evaluate(self, x, z):
        return self._linear().evaluate(x, z) ** self.degree

    def matrix(self, x, z):
        return jnp.power(self._linear().matrix(x, z), self.degree)
