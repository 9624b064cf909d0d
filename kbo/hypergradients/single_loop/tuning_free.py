"""A single loop whose three rates set themselves."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .sampler import slopes
from .stepper import Stepper


class STFBO(Stepper):
    """SOBA's three directions, each with a rate that sets itself by the norms met so far::

        β² ← β² + ‖∂_θJ‖²,   γ² ← γ² + ‖∂²_θθJ·v − ∂_θL‖²,   α² ← α² + ‖d‖²,   φ = max(β, γ)
        θ ← θ − ∂_θJ/β,   v ← v − (∂²_θθJ·v − ∂_θL)/φ,   D = d/(αφ),   d = ∂_ωL − ∂_ω⟨∂_θJ, v⟩

    D holds the rate of ω: use kbo.optimizers.Optax(optax.sgd(1.0)).

    Parameters
    ----------
    rate : float
        1/β = 1/γ = 1/α before the first step, the longest that any of them may be. It is forgotten
        as norms accumulate: too large does no harm, too small is slow.
    inner_size, outer_size, seed
        As in Stepper.

    References
    ----------
    Yang, Ban, Huang, Ma, Ji (2025), Tuning-Free Bilevel Optimization: New Algorithms and
    Convergence Analysis, Algorithm 2.
    """

    rate: float = 10.0

    def init(self, batches, omega, theta):
        first = 1 / jnp.asarray(self.rate, theta.dtype) ** 2
        return jnp.zeros_like(theta), first * jnp.ones(3, theta.dtype)

    def step(self, batches, count, omega, theta, memory):
        v, squares = memory
        found = slopes(batches.inner(0), omega, theta, v)
        direct, b = jax.grad(batches.outer(0), (0, 1))(omega, theta)
        residual, direction = found.product - b, direct - found.cross
        new = [jnp.sum(part**2) for part in (found.inner, residual, direction)]
        squares = squares + jnp.stack(new)
        beta, gamma, alpha = jnp.sqrt(squares)
        phi = jnp.maximum(beta, gamma)
        moved = theta - found.inner / beta, (v - residual / phi, squares)
        return direction / (alpha * phi), *moved

    def passes(self, blocks):
        return 1, 2
