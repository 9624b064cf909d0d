"""Methods with recursive momentum of θ's slope and of the hypergradient."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from .neumann import ByOneTerm, BySeries, StocBiO
from .sampler import hypergradient
from .stepper import now


class MRBO(BySeries):
    """Recursive momentum (STORM) of both directions, one step of θ::

        d ← g + (1 − η)(d − g'),   g, g' on one batch, at this point and at the last

    for g = ∂_θJ, with which θ moves, and for the hypergradient by a Neumann series, which is D.

    Parameters
    ----------
    momentum : float or callable
        η in (0, 1]; 1 is none.
    terms, series_rate, rate, inner_size, outer_size, seed
        As in StocBiO.

    References
    ----------
    Yang, Ji, Liang (2021), Provably Faster Algorithms for Bilevel Optimization, Algorithm 1.
    """

    momentum: float | Callable = 0.5

    def init(self, batches, omega, theta):
        return omega, theta, jnp.zeros_like(omega), jnp.zeros_like(theta)

    def step(self, batches, count, omega, theta, memory):
        last_omega, last_theta, d_omega, d_theta = memory
        rate = now(self.rate, count)
        kept = jnp.where(count > 0, 1 - now(self.momentum, count), 0)
        both = _directions(batches, self.adjoint(rate, count))
        (g_omega, g_theta), old = both(omega, theta), both(last_omega, last_theta)
        d_omega = g_omega + kept * (d_omega - old[0])
        d_theta = g_theta + kept * (d_theta - old[1])
        return d_omega, theta - rate * d_theta, (omega, theta, d_omega, d_theta)

    def passes(self, blocks):
        return 2, 2 * self.products


class SUSTAIN(ByOneTerm, MRBO):
    """MRBO with one random term of the series.

    Parameters
    ----------
    momentum, terms, series_rate, rate, inner_size, outer_size, seed
        As in MRBO.

    References
    ----------
    Khanduri et al. (2021), A Near-Optimal Algorithm for Stochastic Bilevel Optimization via
    Double-Momentum, Algorithm 1.
    """


class VRBO(StocBiO):
    """Both directions by SPIDER's recursion, from the whole samples every ``period`` steps::

        d ← d + g − g',   g, g' on one batch, at this point and at the last

    in each of ``steps`` steps of θ; D is what the hypergradient's recursion has come to.

    Parameters
    ----------
    period : int
    steps, terms, series_rate, rate, inner_size, outer_size, seed
        As in StocBiO.

    References
    ----------
    Yang, Ji, Liang (2021), Provably Faster Algorithms for Bilevel Optimization, Algorithm 2.
    """

    period: int = eqx.field(static=True, default=10)

    def init(self, batches, omega, theta):
        return omega, theta, jnp.zeros_like(omega), jnp.zeros_like(theta)

    def step(self, batches, count, omega, theta, memory):
        rate = now(self.rate, count)
        adjoint = self.adjoint(rate, count)

        def anew(_):
            return omega, theta, *_directions(batches.whole(), adjoint)(omega, theta)

        memory = jax.lax.cond(count % self.period == 0, anew, lambda _: memory, None)

        def move(carry, k):
            theta, last_omega, last_theta, d_omega, d_theta = carry
            both = _directions(batches.fold(k), adjoint)
            (g_omega, g_theta), old = both(omega, theta), both(last_omega, last_theta)
            d_omega, d_theta = d_omega + g_omega - old[0], d_theta + g_theta - old[1]
            return (theta - rate * d_theta, omega, theta, d_omega, d_theta), None

        theta, *memory = jax.lax.scan(move, (theta, *memory), jnp.arange(self.steps))[0]
        return memory[2], theta, tuple(memory)

    def passes(self, blocks):
        found = 2 * self.steps + blocks / self.period
        return found, found * self.products


def _directions(batches, adjoint):
    """(ω, θ) ↦ hypergradient and ∂_θJ on the same batches."""

    def both(omega, theta):
        found = hypergradient(batches.fold(1), omega, theta, adjoint)
        return found, jax.grad(batches.inner(2), 1)(omega, theta)

    return both
