"""Methods that solve for the adjoint anew in every step, by a stochastic Neumann series."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from ...module import Module
from .sampler import descend, hypergradient, slopes
from .stepper import Stepper, now


class Series(Module):
    """v = s Σ_{k<Q} Π_{i≤k} (I − s ∂²_θθJ_i) b, each factor on another batch.

    Parameters
    ----------
    rate : float
        s.
    terms : int
        Q.
    """

    rate: float
    terms: int = eqx.field(static=True)

    def __call__(self, batches, omega, theta, b):
        def step(carry, k):
            power, total = carry
            product = slopes(batches.inner(k), omega, theta, power).product
            power = power - self.rate * product
            return (power, total + power), None

        total = jax.lax.scan(step, (b, b), jnp.arange(self.terms - 1))[0][1]
        return self.rate * total


class OneTerm(Series):
    """v = s Q Π_{i≤k} (I − s ∂²_θθJ_i) b with k uniform below Q: as Series, on average."""

    def __call__(self, batches, omega, theta, b):
        last = jax.random.randint(batches.key, (), 0, self.terms)

        def step(k, power):
            return power - self.rate * slopes(batches.inner(k), omega, theta, power).product

        return self.rate * self.terms * jax.lax.fori_loop(0, last, step, b)


class BySeries(Stepper):
    """Base class: v by a Neumann series.

    Parameters
    ----------
    terms : int
        Q.
    series_rate : float or callable, optional
        s, below 1/‖∂²_θθJ‖; None is ``rate``.
    """

    terms: int = eqx.field(static=True, default=10)
    series_rate: float | Callable | None = None

    def adjoint(self, rate, count):
        """How v is found after ``count`` steps; ``rate`` is that of θ."""
        return Series(*self._series(rate, count))

    def _series(self, rate, count):
        own = rate if self.series_rate is None else now(self.series_rate, count)
        return own, self.terms

    @property
    def products(self):
        """What the series takes, on average."""
        return self.terms


class ByOneTerm(BySeries):
    """Base class: v by one random term of the series, unbiased for it, at half its products."""

    def adjoint(self, rate, count):
        """One random term of the series."""
        return OneTerm(*self._series(rate, count))

    @property
    def products(self):
        """Of a random number of terms, on average."""
        return (self.terms + 1) / 2


class StocBiO(BySeries):
    """``steps`` stochastic steps of θ from where it was left, and a Neumann series of Q terms.

    Parameters
    ----------
    terms : int
        Q.
    series_rate : float or callable, optional
        s, below 1/‖∂²_θθJ‖; None is ``rate``.
    steps : int
    rate, inner_size, outer_size, seed
        As in Stepper.

    References
    ----------
    Ji, Yang, Liang (2021), Bilevel Optimization: Convergence Analysis and Enhanced Design,
    Algorithms 2 and 3.
    """

    steps: int = eqx.field(static=True, default=10)

    def init(self, batches, omega, theta):
        return ()

    def step(self, batches, count, omega, theta, memory):
        rate = now(self.rate, count)
        theta = descend(batches.fold(0), omega, theta, rate, self.steps)
        found = hypergradient(batches.fold(1), omega, theta, self.adjoint(rate, count))
        return found, theta, ()

    def passes(self, blocks):
        return self.steps, self.products


class BSA(ByOneTerm, StocBiO):
    """StocBiO with one random term of the series.

    Parameters
    ----------
    steps, terms, series_rate, rate, inner_size, outer_size, seed
        As in StocBiO.

    References
    ----------
    Ghadimi, Wang (2018), Approximation Methods for Bilevel Programming, Algorithms 2 and 3.
    """


class TTSA(BSA):
    """BSA with one step of θ, on a time scale of its own: ``rate`` must fall slower than ω's.

    The theory has ω's rate ~ t^(−3/5) and θ's ~ t^(−2/5): give Optax and ``rate`` such schedules.

    Parameters
    ----------
    steps, terms, series_rate, rate, inner_size, outer_size, seed
        As in StocBiO.

    References
    ----------
    Hong, Wai, Wang, Yang (2020), A Two-Timescale Framework for Bilevel Optimization, Algorithm 1.
    """

    steps: int = eqx.field(static=True, default=1)
