"""Stationarity of the inner problem as a penalty: no inverse, and singular problems are solved."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...linalg.lbfgs import Memory, lbfgs
from .stepper import Stepper

ADAM = optax.adam(1.0)
PAIRS = 10  # of the memory of L-BFGS


class Schedule(NamedTuple):
    """γ, and what falls as it grows.

    Attributes
    ----------
    penalty, tolerance, convexity, rate : array ()
    """

    penalty: jax.Array
    tolerance: jax.Array
    convexity: jax.Array
    rate: jax.Array

    def next(self, growth):
        """The schedule after γ has grown."""
        falls = (part / growth for part in self[1:])
        return Schedule(self.penalty * growth, *falls)


class Penalty(Stepper):
    """θ along the gradient of L + (γ/2)‖∂_θJ‖², ``steps`` steps; D is that gradient in ω::

        f(ω, θ) = L + (γ/2)‖∂_θJ‖² + ⟨ν, ∂_θJ⟩      θ moves along that of f + ρJ

    At the minimum over θ, γ∂_θJ + ν = −(∂²_θθJ)⁻¹∂_θL and D is the hypergradient there: no system
    is solved. Where ∂²_θθJ is singular f still has a minimum, near that minimiser of J with the
    lowest L (the optimistic choice). Once ‖∇f‖ in (ω, θ) is below ε: γ ← cγ, ν ← ν + γ∂_θJ, and ε,
    ρ and the rate of Adam are divided by c.

    Parameters
    ----------
    rate : float or None
        The first rate of Adam, which moves θ. None means L-BFGS with Armijo's test, for whole
        samples: the conditioning of f gets worse as γ grows.
    steps : int
    penalty, growth : float
        The first γ, and c > 1.
    tolerance : float
        The first ε.
    lagrangian : bool
        Whether ν, the method of multipliers, is used; else it stays zero.
    convexity : float
        The first ρ; for inner problems that are not convex.
    inner_size, outer_size, seed
        As in Stepper.

    References
    ----------
    Mehra, Hamm (2021), Penalty Method for Inversion-Free Deep Bilevel Optimization, Algorithm 1,
    Lemma 3 and Section 3.3.
    """

    rate: float | None = 0.01
    steps: int = eqx.field(static=True, default=10)
    penalty: float = 1.0
    growth: float = 1.1
    tolerance: float = 1.0
    lagrangian: bool = eqx.field(static=True, default=True)
    convexity: float = 0.0

    def __check_init__(self):
        if callable(self.rate):
            raise ValueError("rate must be a number, or None: it falls as the penalty grows")
        batches = self.inner_size is not None or self.outer_size is not None
        if self.rate is None and batches:
            raise ValueError("rate=None is L-BFGS, for whole samples: give Adam a rate")
        if not (self.penalty > 0 and self.growth > 1 and self.tolerance > 0):
            raise ValueError(
                f"penalty={self.penalty} and tolerance={self.tolerance} must be positive, "
                f"growth={self.growth} above 1"
            )
        if not self.convexity >= 0:
            raise ValueError(f"convexity={self.convexity!r} must not be negative")

    def init(self, batches, omega, theta):
        rate = 0.0 if self.rate is None else self.rate
        first = (self.penalty, self.tolerance, self.convexity, rate)
        schedule = Schedule(*[jnp.asarray(value, theta.dtype) for value in first])
        own = () if self.rate is None else ADAM.init(theta)
        return own, jnp.zeros_like(theta), schedule

    def step(self, batches, count, omega, theta, memory):
        own, multipliers, schedule = memory

        def penalised(omega, theta, k, convexity):
            value, slope = jax.value_and_grad(batches.inner(2 * k), 1)(omega, theta)
            # The square of one batch's slope would be off by its variance.
            other = slope
            if self.inner_size is not None:
                other = jax.grad(batches.inner(2 * k + 1), 1)(omega, theta)
            square = 0.5 * schedule.penalty * jnp.sum(slope * other)
            terms = square + jnp.sum(multipliers * slope) + convexity * value
            return batches.outer(k)(omega, theta) + terms

        theta, own = self._descend(
            lambda theta, k: penalised(omega, theta, k, schedule.convexity), theta, own,
            schedule.rate,
        )
        slopes = jax.grad(penalised, (0, 1))(omega, theta, self.steps, 0.0)
        grown = (multipliers, schedule.next(self.growth))
        if self.lagrangian:
            residual = jax.grad(batches.inner(2 * self.steps), 1)(omega, theta)
            grown = (multipliers + schedule.penalty * residual, grown[1])
        small = sum(jnp.sum(slope**2) for slope in slopes) < schedule.tolerance**2
        kept = jax.tree.map(
            lambda new, old: jnp.where(small, new, old), grown, (multipliers, schedule)
        )
        return slopes[0], theta, (own, *kept)

    def _descend(self, objective, theta, own, rate):
        """``steps`` steps of θ."""
        if self.rate is None:
            flat = lambda x: objective(x.reshape(theta.shape), 0)  # noqa: E731
            # Pairs of the last step would be those of another γ and ν.
            none = Memory.empty(PAIRS, theta.ravel())
            found = lbfgs(jax.value_and_grad(flat), theta.ravel(), none, self.steps, 0.0)
            return found.x.reshape(theta.shape), own

        def move(carry, k):
            theta, own = carry
            update, own = ADAM.update(jax.grad(objective)(theta, k), own)
            return (theta + rate * update, own), None

        return jax.lax.scan(move, (theta, own), jnp.arange(self.steps))[0]

    def passes(self, blocks):
        slopes = (self.steps + 1) * (1 if self.inner_size is None else 2)
        return slopes + self.lagrangian, slopes
