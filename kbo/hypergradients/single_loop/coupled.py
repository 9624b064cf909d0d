"""Methods that carry v ≈ (∂²_θθJ)⁻¹∂_θL along with θ and ω."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .sampler import descend, slopes
from .stepper import Stepper, now


class SOBA(Stepper):
    """One stochastic step each of θ, v and ω, all from the same point.

    With the gradients of a batch::

        θ ← θ − ρ ∂_θJ,   v ← v − ρ_v (∂²_θθJ·v − ∂_θL),   D = ∂_ωL − ∂_ω⟨∂_θJ, v⟩

    Parameters
    ----------
    adjoint_rate : float or callable, optional
        ρ_v; None is ``rate``.
    rate, inner_size, outer_size, seed
        As in Stepper.

    References
    ----------
    Dagréou, Ablin, Vaiter, Moreau (2022), A Framework for Bilevel Optimization that Enables
    Stochastic and Global Variance Reduction Algorithms, Section 2.3.
    """

    adjoint_rate: float | Callable | None = None

    def init(self, batches, omega, theta):
        return jnp.zeros_like(theta)

    def rates(self, count):
        """ρ and ρ_v after ``count`` steps."""
        rate = now(self.rate, count)
        return rate, rate if self.adjoint_rate is None else now(self.adjoint_rate, count)

    def step(self, batches, count, omega, theta, memory):
        v = memory
        found = slopes(batches.inner(0), omega, theta, v)
        direct, b = jax.grad(batches.outer(0), (0, 1))(omega, theta)
        rate, own = self.rates(count)
        moved = theta - rate * found.inner, v - own * (found.product - b)
        return direct - found.cross, *moved

    def passes(self, blocks):
        return 1, 2


class BlockTable(NamedTuple):
    """The last values of one quantity on each block, and their mean."""

    rows: jax.Array
    mean: jax.Array

    def replaced(self, k, new):
        """(an estimate of the mean over blocks, the table with block k replaced)."""
        change = new - self.rows[k]
        mean = self.mean + change / len(self.rows)
        return self.mean + change, BlockTable(self.rows.at[k].set(new), mean)


class SABA(SOBA):
    """SOBA with SAGA's variance reduction of all five quantities: ρ need not fall.

    The batches are the blocks of a fixed partition, one drawn at random; ∂_θJ, ∂²_θθJ·v,
    ∂_ω⟨∂_θJ, v⟩, ∂_θL and ∂_ωL of each block's last visit are kept: n/inner_size × (2N + q) numbers
    and m/outer_size × (N + q). Sizes must divide n and m.

    Parameters
    ----------
    adjoint_rate, rate, inner_size, outer_size, seed
        As in SOBA.

    References
    ----------
    Dagréou, Ablin, Vaiter, Moreau (2022), Section 2.4.
    """

    def check(self, instance):
        for name, size, n in (
            ("inner_size", self.inner_size, instance.inner.size),
            ("outer_size", self.outer_size, instance.outer.size),
        ):
            if size is not None and n % size:
                raise ValueError(f"{name}={size} must divide the {n} rows into blocks")

    def init(self, batches, omega, theta):
        v = jnp.zeros_like(theta)
        at = lambda quantities, part: jax.tree.map(  # noqa: E731
            lambda rows: BlockTable(rows, rows.mean(0)),
            jax.lax.map(quantities, jnp.arange(batches.blocks(part))),
        )
        inner = at(lambda k: _inner_block(batches, k, omega, theta, v), 0)
        return v, inner, at(lambda k: _outer_block(batches, k, omega, theta), 1)

    def step(self, batches, count, omega, theta, memory):
        v, inner, outer = memory
        keys = jax.random.split(batches.key)
        k = jax.random.randint(keys[0], (), 0, batches.blocks(0))
        new = _inner_block(batches, k, omega, theta, v)
        (slope, product, cross), inner = _replaced(inner, k, new)
        k = jax.random.randint(keys[1], (), 0, batches.blocks(1))
        (direct, b), outer = _replaced(outer, k, _outer_block(batches, k, omega, theta))
        rate, own = self.rates(count)
        moved = theta - rate * slope, (v - own * (product - b), inner, outer)
        return direct - cross, *moved


def _inner_block(batches, k, omega, theta, v):
    return tuple(slopes(batches.inner_rows(batches.block(k, 0)), omega, theta, v))


def _outer_block(batches, k, omega, theta):
    return jax.grad(batches.outer_rows(batches.block(k, 1)), (0, 1))(omega, theta)


def _replaced(tables, k, new):
    pairs = [table.replaced(k, value) for table, value in zip(tables, new, strict=True)]
    return [estimate for estimate, _ in pairs], tuple(table for _, table in pairs)


class AmIGO(SOBA):
    """``steps`` stochastic steps of θ, then ``adjoint_steps`` of v, both from where they were left.

    Parameters
    ----------
    steps, adjoint_steps : int
    adjoint_rate, rate, inner_size, outer_size, seed
        As in SOBA.

    References
    ----------
    Arbel, Mairal (2022), Amortized Implicit Differentiation for Stochastic Bilevel Optimization,
    Algorithm 1.
    """

    steps: int = eqx.field(static=True, default=10)
    adjoint_steps: int = eqx.field(static=True, default=10)

    def step(self, batches, count, omega, theta, memory):
        rate, own = self.rates(count)
        theta = descend(batches.fold(0), omega, theta, rate, self.steps)
        direct, b = jax.grad(batches.outer(0), (0, 1))(omega, theta)
        drawn = batches.fold(1)

        def move(v, k):
            return v - own * (slopes(drawn.inner(k), omega, theta, v).product - b), None

        v = jax.lax.scan(move, memory, jnp.arange(self.adjoint_steps))[0]
        return direct - slopes(batches.inner(0), omega, theta, v).cross, theta, v

    def passes(self, blocks):
        return self.steps, self.adjoint_steps + 1


class FSLA(SOBA):
    """One stochastic step each of θ and v, and momentum of recursive kind (STORM) for ω::

        D = d + (1 − η)(D − d'),   d = ∂_ωL − ∂_ω⟨∂_θJ, v⟩

    d' is the same at the last ω, θ and v, on the same batch.

    Parameters
    ----------
    momentum : float or callable
        η in (0, 1]; 1 is none.
    adjoint_rate, rate, inner_size, outer_size, seed
        As in SOBA.

    References
    ----------
    Li, Gu, Huang (2022), A Fully Single Loop Algorithm for Bilevel Optimization without Hessian
    Inverse, Algorithm 1.
    """

    momentum: float | Callable = 0.5

    def init(self, batches, omega, theta):
        v = jnp.zeros_like(theta)
        return v, omega, jnp.zeros_like(omega)

    def step(self, batches, count, omega, theta, memory):
        v, last_omega, last = memory
        rate, own = self.rates(count)
        new_theta = theta - rate * jax.grad(batches.inner(0), 1)(omega, theta)
        b = jax.grad(batches.outer(0), 1)(omega, new_theta)
        new_v = v - own * (slopes(batches.inner(1), omega, new_theta, v).product - b)

        def direction(omega, theta, v):
            direct = jax.grad(batches.outer(1))(omega, theta)
            return direct - slopes(batches.inner(2), omega, theta, v).cross

        kept = jnp.where(count > 0, 1 - now(self.momentum, count), 0)
        moved = direction(omega, new_theta, new_v)
        moved = moved + kept * (last - direction(last_omega, theta, v))
        return moved, new_theta, (new_v, omega, moved)

    def passes(self, blocks):
        return 1, 3
