"""Regularizers and constraints R of a vector: their proximal steps, and where they are smooth.

They act on the coefficients of ``RegularizedFeatures`` or on ω (``optimizers.ProjectedGradient``).
Near a solution R is smooth along a manifold (the coefficients that are not zero, say), and the
solution moves within that manifold as ω changes.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree import map as _each

__all__ = ["L1", "Ball", "Box", "GroupLasso", "NonNegative", "Regularizer", "Simplex"]


class Regularizer(eqx.Module):
    """A convex function R, or the constraint x ∈ C as R = 0 in C and ∞ outside.

    Arguments are arrays or pytrees of them. Subclasses define R, ``prox`` and ``tangent``; if their
    manifolds move with their own parameters, ``moved`` too, and if they are curved,
    ``curvature_times``.

    Attributes
    ----------
    separable : bool
        Whether R is a sum over entries, so that ``prox`` takes a rate for each of them.
    """

    separable: ClassVar[bool] = False

    def fault(self) -> str:
        """What is wrong with R's parameters, in words; empty if nothing is."""
        return ""

    @abc.abstractmethod
    def __call__(self, x) -> jax.Array:
        """R(x)."""

    @abc.abstractmethod
    def prox(self, x, rate):
        """argmin_z ‖z − x‖²/2 + rate·R(z); for a constraint the nearest point of C."""

    @abc.abstractmethod
    def tangent(self, x, direction):
        """The orthogonal projection of a direction onto the tangent space of x's manifold."""

    def moved(self, x):
        """x, moved with its manifold where that depends on R's parameters."""
        return x

    def curvature_times(self, x, slope, direction):
        """∂²R at ``x`` times a tangent direction; the objective's smooth part has ``slope``."""
        return jax.jvp(jax.grad(self), (x,), (direction,))[1]


def _faulty(name, value, wanted, good):
    """A sentence if a parameter is not what is wanted."""
    held = np.asarray(value)
    right = np.all(good(held)) and np.isfinite(held).all()
    return "" if right else f"{name}={value} must be {wanted} and finite"


def _numbered(labels):
    return tuple(np.unique(labels, return_inverse=True)[1].tolist())  # from 0


class L1(Regularizer):
    """``R(x) = Σ strength·|x|``, which draws entries to zero.

    Parameters
    ----------
    strength : float, or array that broadcasts to x
        At least 0. An array for coefficients θ (q, 1) has shape (q, 1).
    """

    separable = True
    strength: Any

    def fault(self):
        """Whether a strength is negative."""
        return _faulty("strength", self.strength, "at least 0", lambda v: v >= 0)

    def __call__(self, x):
        """R(x), summed over all leaves."""
        return sum(jnp.sum(self.strength * jnp.abs(leaf)) for leaf in jax.tree.leaves(x))

    def prox(self, x, rate):
        """Soft thresholding, ``sign(x)·max(|x| − rate·strength, 0)``."""
        shrink = rate * self.strength
        return _each(lambda v: jnp.sign(v) * jnp.maximum(jnp.abs(v) - shrink, 0), x)

    def tangent(self, x, direction):
        """The direction where x is not zero, and zero elsewhere."""
        return _each(lambda v, d: jnp.where(v != 0, d, 0), x, direction)


class GroupLasso(Regularizer):
    """R(x) = strength Σ_g √size_g ‖x_g‖, over groups g of rows of an array x (q,) or (q, p).

    Parameters
    ----------
    strength : float, at least 0
    groups : sequence of int (q,)
        The label of each row. Size counts rows.

    References
    ----------
    Yuan, Lin (2006), Model Selection and Estimation in Regression with Grouped Variables,
    eq. (2.1).
    """

    strength: Any
    groups: tuple[int, ...] = eqx.field(static=True, converter=lambda labels: _numbered(labels))

    def fault(self):
        """Whether the strength is negative."""
        return _faulty("strength", self.strength, "at least 0", lambda v: v >= 0)

    def _norms(self, x):
        """‖x_g‖ (G,), with derivative 0 at 0, and √size_g."""
        labels = np.array(self.groups)
        if len(labels) != x.shape[0]:
            raise ValueError(f"groups has {len(labels)} labels for {x.shape[0]} rows: one for each")
        square = jax.ops.segment_sum(
            jnp.sum(x.reshape(len(labels), -1) ** 2, 1), labels, labels.max() + 1
        )
        positive = square > 0
        norms = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
        return norms, np.sqrt(np.bincount(labels))

    def _by_row(self, per_group, x):
        return per_group[np.array(self.groups)].reshape(-1, *(1,) * (x.ndim - 1))

    def __call__(self, x):
        """R(x)."""
        norms, roots = self._norms(x)
        return self.strength * jnp.sum(roots * norms)

    def prox(self, x, rate):
        """x_g·max(1 − rate·strength·√size_g/‖x_g‖, 0)."""
        norms, roots = self._norms(x)
        least = rate * self.strength * roots
        factor = jnp.where(norms > least, 1 - least / jnp.where(norms > least, norms, 1.0), 0.0)
        return self._by_row(factor, x) * x

    def tangent(self, x, direction):
        """The direction in groups that are not zero, and zero elsewhere."""
        return jnp.where(self._by_row(self._norms(x)[0] > 0, x), direction, 0)


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
        return _faulty("total", self.total, "positive", lambda v: v > 0)

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
        return _faulty("radius", self.radius, "positive", lambda v: v > 0)

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
