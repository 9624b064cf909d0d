"""Methods without second derivatives: the value function's, J(ω, θ) − min J(ω, ·), as a penalty."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from .sampler import descend
from .stepper import Stepper, now


class F2SA(Stepper):
    """θ near argmin J and y near argmin L + λJ, ``steps`` stochastic steps each; λ grows::

        D = ∂_ωL(ω, y) + λ (∂_ωJ(ω, y) − ∂_ωJ(ω, θ))     → ∇L as λ → ∞, error O(1/λ)

    y moves by ρ(∂_θL/λ + ∂_θJ), so that ρ need not fall as λ grows.

    Parameters
    ----------
    steps : int
    multiplier : float or callable
        λ, a number or a schedule.
    rate, inner_size, outer_size, seed
        As in Stepper.

    References
    ----------
    Kwon, Kwon, Wright, Nowak (2023), A Fully First-Order Method for Stochastic Bilevel
    Optimization, Algorithm 1 and Lemma 3.1.
    """

    steps: int = eqx.field(static=True, default=10)
    multiplier: float | Callable = 10.0

    def init(self, batches, omega, theta):
        return theta

    def step(self, batches, count, omega, theta, memory):
        rate, multiplier = now(self.rate, count), now(self.multiplier, count)
        theta = descend(batches.fold(0), omega, theta, rate, self.steps)
        drawn = batches.fold(1)

        def move(y, k):
            outer = jax.grad(drawn.outer(k), 1)(omega, y)
            return y - rate * (outer / multiplier + jax.grad(drawn.inner(k), 1)(omega, y)), None

        y = jax.lax.scan(move, memory, jnp.arange(self.steps))[0]
        # One batch for both: their noise cancels where y is near θ.
        explicit = jax.grad(batches.inner(0))
        gap = explicit(omega, y) - explicit(omega, theta)
        return jax.grad(batches.outer(0))(omega, y) + multiplier * gap, theta, y

    def passes(self, blocks):
        return 2 * self.steps + 2, 0


class BOME(Stepper):
    """ω and θ both along the gradient of L + λq, where q = J(ω, θ) − J(ω, θ_T) bounds the gap::

        λ = max(0, (η‖∇q‖² − ⟨∇L, ∇q⟩)/‖∇q‖²)

    the least with which the step lowers q by η‖∇q‖² to first order (a dynamic barrier). θ_T comes
    from ``steps`` steps of θ that are not kept. θ moves by ``rate``: give Optax the same for ω.

    Parameters
    ----------
    steps : int
        T.
    barrier : float
        η.
    rate, inner_size, outer_size, seed
        As in Stepper.

    References
    ----------
    Liu, Ye, Wright, Stone, Liu (2022), BOME! Bilevel Optimization Made Easy, Algorithm 1.
    """

    steps: int = eqx.field(static=True, default=10)
    barrier: float = 0.5

    def init(self, batches, omega, theta):
        return ()

    def step(self, batches, count, omega, theta, memory):
        rate = now(self.rate, count)
        lower = descend(batches.fold(0), omega, theta, rate, self.steps)
        J = batches.inner(0)
        of_omega, of_theta = jax.grad(J, (0, 1))(omega, theta)
        q = of_omega - jax.grad(J)(omega, lower), of_theta
        outer = jax.grad(batches.outer(0), (0, 1))(omega, theta)
        square = sum(jnp.sum(part**2) for part in q)
        product = sum(jnp.sum(a * b) for a, b in zip(outer, q, strict=True))
        tiny = jnp.finfo(theta.dtype).tiny
        multiplier = jnp.maximum(0, self.barrier - product / jnp.maximum(square, tiny))
        d_omega, d_theta = (a + multiplier * b for a, b in zip(outer, q, strict=True))
        return d_omega, theta - rate * d_theta, ()

    def passes(self, blocks):
        return self.steps + 2, 0
