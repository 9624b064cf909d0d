"""Convex sets, onto which a proximal step projects."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree import map as _each

from .base import Regularizer, faulty


class Box(Regularizer):
    """The constraint lower ≤ x ≤ upper.

    Parameters
    ----------
    lower, upper : float, or array that broadcasts to x
        Arrays for coefficients θ (q, 1) have shape (q, 1).
    """

    separable = True
    lower: Any = -np.inf
    upper: Any = np.inf

    def fault(self):
        """Whether the bounds cross."""
        if bool(np.all(np.asarray(self.lower) <= np.asarray(self.upper))):
            return ""
        return f"lower={self.lower} must nowhere be above upper={self.upper}"

    def __call__(self, x):
        """0 in the box, else ∞."""
        inside = [
            jnp.all((leaf >= self.lower) & (leaf <= self.upper)) for leaf in jax.tree.leaves(x)
        ]
        return jnp.where(jnp.all(jnp.array(inside)), 0.0, jnp.inf)

    def prox(self, x, rate=1.0):
        """x, clipped."""
        return _each(lambda v: jnp.clip(v, self.lower, self.upper), x)

    def tangent(self, x, direction):
        """The direction where x is within the bounds, and zero at a bound."""
        free = lambda v: (v > self.lower) & (v < self.upper)  # noqa: E731
        return _each(lambda v, d: jnp.where(free(v), d, 0), x, direction)

    def moved(self, x):
        """What is at a bound stays there."""
        at_upper = lambda v: jnp.where(v >= self.upper, self.upper, v)  # noqa: E731
        return _each(lambda v: jnp.where(v <= self.lower, self.lower, at_upper(v)), x)


class NonNegative(Box):
    """The constraint x ≥ 0."""

    def __init__(self):
        self.lower, self.upper = 0.0, np.inf


class Simplex(Regularizer):
    """The constraint x ≥ 0, Σx = total, over all leaves together.

    Parameters
    ----------
    total : float, positive

    References
    ----------
    Duchi, Shalev-Shwartz, Singer, Chandra (2008), Efficient Projections onto the ℓ1-Ball,
    Figure 1.
    """

    total: Any = 1.0

    def fault(self):
        """Whether the total is not positive."""
        return faulty("total", self.total, "positive", lambda v: v > 0)

    def __call__(self, x):
        """0 on the simplex, up to rounding of the sum, else ∞."""
        flat = ravel_pytree(x)[0]
        near = jnp.abs(jnp.sum(flat) - self.total) <= 1e3 * jnp.finfo(flat.dtype).eps * self.total
        return jnp.where(near & jnp.all(flat >= 0), 0.0, jnp.inf)

    def prox(self, x, rate=1.0):
        """The nearest point, max(x − τ, 0) with τ such that the sum is right."""
        flat, undo = ravel_pytree(x)
        falling = -jnp.sort(-flat)
        counts = jnp.arange(1, flat.size + 1)
        levels = (jnp.cumsum(falling) - self.total) / counts
        last = jnp.max(jnp.where(falling > levels, counts, 1))
        return undo(jnp.maximum(flat - levels[last - 1], 0))

    def tangent(self, x, direction):
        """The direction where x is positive, less its mean there."""
        (flat, undo), (towards, _) = ravel_pytree(x), ravel_pytree(direction)
        free = flat > 0
        mean = jnp.sum(jnp.where(free, towards, 0)) / jnp.sum(free)
        return undo(jnp.where(free, towards - mean, 0))

    def moved(self, x):
        """x in proportion to the total."""
        return _each(lambda v: v * (self.total / jax.lax.stop_gradient(self.total)), x)


class Ball(Regularizer):
    """The constraint ‖x‖ ≤ radius, of all leaves together.

    Parameters
    ----------
    radius : float, positive
    """

    radius: Any = 1.0

    def fault(self):
        """Whether the radius is not positive."""
        return faulty("radius", self.radius, "positive", lambda v: v > 0)

    def _reach(self, x):
        """‖x‖, and whether it is the radius, up to rounding."""
        flat = ravel_pytree(x)[0]
        square = jnp.sum(flat**2)
        norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return norm, norm >= self.radius * (1 - 1e2 * jnp.finfo(flat.dtype).eps)

    def __call__(self, x):
        """0 in the ball, up to rounding of the norm, else ∞."""
        norm, _ = self._reach(x)
        return jnp.where(norm <= self.radius * (1 + 1e2 * jnp.finfo(norm.dtype).eps), 0.0, jnp.inf)

    def prox(self, x, rate=1.0):
        """x, shortened to the radius."""
        norm, _ = self._reach(x)
        factor = self.radius / jnp.maximum(norm, self.radius)
        return _each(lambda v: v * factor, x)

    def tangent(self, x, direction):
        """The direction, on the sphere less its part along x."""
        (flat, undo), (towards, _) = ravel_pytree(x), ravel_pytree(direction)
        norm, on_sphere = self._reach(x)
        along = flat * (flat @ towards) / jnp.where(norm > 0, norm, 1.0) ** 2
        return undo(towards - jnp.where(on_sphere, along, 0))

    def moved(self, x):
        """x; on the sphere, in proportion to the radius."""
        growth = self.radius / jax.lax.stop_gradient(self.radius)
        return _each(lambda v: v * jnp.where(self._reach(x)[1], growth, 1.0), x)

    def curvature_times(self, x, slope, direction):
        """The multiplier −slope·x/radius² of the sphere, times the direction."""
        (flat, _), (against, _) = ravel_pytree(x), ravel_pytree(slope)
        held = jnp.where(self._reach(x)[1], -(against @ flat) / self.radius**2, 0.0)
        return _each(lambda d: held * d, direction)
