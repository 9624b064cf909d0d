"""J and L on rows drawn anew: what all of these methods share."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ...module import Module
from ...solvers.coefficients import inner_objective, outer_objective


class Slopes(NamedTuple):
    """What one pass over a batch tells.

    Attributes
    ----------
    inner, product : array (F, N)
        ∂_θJ and ∂²_θθJ·v.
    cross : array (q,)
        ∂_ω⟨∂_θJ, v⟩.
    """

    inner: jax.Array
    product: jax.Array
    cross: jax.Array


class Batches(Module):
    """The objectives of a problem as functions of a flat ω (q,) and θ (F, N), on random rows.

    ``inner(tag)`` and ``outer(tag)`` are the same batches for the same tag, others for others.

    Attributes
    ----------
    problem : BilevelProblem
    unravel, undo : callable
        To ω and to the coefficients of h.
    sizes : pair of int or None
        Rows of the inner and the outer sample in a batch; None is all.
    samples : pair of int
        n and m.
    key : PRNG key
    """

    problem: Any
    unravel: Any
    undo: Any
    sizes: tuple = eqx.field(static=True)
    samples: tuple = eqx.field(static=True)
    key: jax.Array

    def fold(self, tag) -> Batches:
        """Other batches, one set for each tag: for loops."""
        return eqx.tree_at(lambda b: b.key, self, jax.random.fold_in(self.key, tag))

    def whole(self) -> Batches:
        """All rows, whatever the tag."""
        return Batches(
            self.problem, self.unravel, self.undo, (None, None), self.samples, self.key
        )

    def inner(self, tag):
        """(ω, θ) ↦ J."""
        return self.inner_rows(self._draw(0, tag))

    def outer(self, tag):
        """(ω, θ) ↦ L."""
        return self.outer_rows(self._draw(1, tag))

    def inner_rows(self, rows):
        """(ω, θ) ↦ J on given rows."""
        return lambda omega, theta: inner_objective(
            self.problem.at(self.unravel(omega)), rows=rows
        )(self.undo(theta))

    def outer_rows(self, rows):
        """(ω, θ) ↦ L on given rows."""
        return lambda omega, theta: outer_objective(
            self.problem.at(self.unravel(omega)), rows=rows
        )(self.undo(theta))

    def block(self, k, part):
        """The rows of the k-th block of a fixed partition."""
        size = self.sizes[part]
        return None if size is None else k * size + jnp.arange(size)

    def blocks(self, part) -> int:
        """How many there are."""
        size = self.sizes[part]
        return 1 if size is None else self.samples[part] // size

    def _draw(self, part, tag):
        if self.sizes[part] is None:
            return None
        key = jax.random.fold_in(jax.random.fold_in(self.key, part), tag)
        # With replacement: exactly unbiased, and no sort.
        return jax.random.randint(key, (self.sizes[part],), 0, self.samples[part])


def slopes(J, omega, theta, v) -> Slopes:
    """∂_θJ, and both second derivatives along v, in one reverse pass."""

    def along(omega, theta):
        slope = jax.grad(J, 1)(omega, theta)
        return jnp.sum(slope * v), slope

    (cross, product), slope = jax.grad(along, (0, 1), has_aux=True)(omega, theta)
    return Slopes(slope, product, cross)


def hypergradient(batches, omega, theta, adjoint):
    """∂_ωL − ∂_ω⟨∂_θJ, v⟩ with v = adjoint(batches, ω, θ, ∂_θL)."""
    direct, b = jax.grad(batches.outer(0), (0, 1))(omega, theta)
    v = adjoint(batches.fold(1), omega, theta, b)
    return direct - slopes(batches.inner(0), omega, theta, v).cross


def descend(batches, omega, theta, rate, steps):
    """``steps`` times θ ← θ − rate ∂_θJ, each on another batch."""

    def step(theta, k):
        return theta - rate * jax.grad(batches.inner(k), 1)(omega, theta), None

    return jax.lax.scan(step, theta, jnp.arange(steps))[0]
