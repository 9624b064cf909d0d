"""An outer loss that fits a linear second stage to all predictions at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..arithmetic import resolve
from .base import Joint


class Readout(Joint):
    """L = min_{u,b} (1/Σv) Σ_j v_j ½(y_j − h(x'_j)·u − b)² + (ridge/2)‖u‖²: a second stage.

    The minimum is computed in closed form, and differentiated as a function of h.

    Parameters
    ----------
    ridge : float or callable of ω
        Positive.

    References
    ----------
    Xu et al. (2021), Learning Deep Features in Instrumental Variable Regression, eq. (5).
    """

    ridge: Any = 1e-3

    def __call__(self, omega, predictions, targets, weights):
        share = weights / jnp.sum(weights)
        slopes, intercept = self.fit(omega, predictions, targets, weights)
        errors = targets - predictions @ slopes - intercept
        ridge = resolve(self.ridge, omega)
        return 0.5 * jnp.sum(share * errors**2) + 0.5 * ridge * jnp.sum(slopes**2)

    def fit(self, omega, predictions, targets, weights):
        """The minimisers u (p,) and b, a number, at ω.

        Parameters
        ----------
        omega : pytree
        predictions : array (m, p)
        targets, weights : array (m,)
        """
        share = weights / jnp.sum(weights)
        centre, mean = share @ predictions, share @ targets
        centred = predictions - centre
        gram = centred.T @ (share[:, None] * centred)
        ridge = resolve(self.ridge, omega) * jnp.eye(len(gram), dtype=gram.dtype)
        moments = (share * (targets - mean)) @ centred
        slopes = jax.scipy.linalg.solve(gram + ridge, moments, assume_a="pos")
        return slopes, mean - centre @ slopes
