"""Proximal gradient steps as an Optax transformation, for θ or for ω."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax


class L1(eqx.Module):
    """R(x) = strength · Σ|x|.

    Parameters
    ----------
    strength : float
    """

    strength: float

    def __call__(self, params):
        """R(x), summed over all leaves."""
        return self.strength * sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params))

    def prox(self, params, rate):
        """argmin_z ‖z − x‖²/2 + rate·R(z): soft thresholding."""
        shrink = rate * self.strength
        soft = lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - shrink, 0)  # noqa: E731
        return jax.tree.map(soft, params)


class NonNegative(eqx.Module):
    """R(x) = 0 where x ≥ 0, else ∞."""

    def __call__(self, params):
        """R(x): 0 if all entries are non-negative, else ∞."""
        inside = jnp.array([jnp.all(leaf >= 0) for leaf in jax.tree.leaves(params)])
        return jnp.where(jnp.all(inside), 0.0, jnp.inf)

    def prox(self, params, rate):
        """The nearest point with x ≥ 0, for any ``rate``."""
        return jax.tree.map(lambda x: jnp.maximum(x, 0), params)


def proximal_gradient(rate, regularizer) -> optax.GradientTransformation:
    """x ← prox_{rate R}(x − rate ∇f(x)): minimises f + R for a non-smooth R (ISTA if R is L1).

    Use it for θ in Unrolled or MinMin, and for ω in Optax.

    Parameters
    ----------
    rate : float or callable
        Below 2/‖∇²f‖; or a schedule, a function of the number of steps so far.
    regularizer : object
        R, with a method ``prox(params, rate)`` like that of L1. Unrolled needs ``prox`` to be
        differentiable almost everywhere.

    References
    ----------
    Beck, Teboulle (2009), A Fast Iterative Shrinkage-Thresholding Algorithm, eq. (1.4).
    """

    def init(params):
        return jnp.zeros((), jnp.int32)

    def update(grads, count, params=None):
        if params is None:
            raise ValueError("proximal_gradient needs the parameters: update(grads, state, params)")
        step = rate(count) if isinstance(rate, Callable) else rate
        moved = regularizer.prox(jax.tree.map(lambda x, g: x - step * g, params, grads), step)
        return jax.tree.map(jnp.subtract, moved, params), count + 1

    return optax.GradientTransformation(init, update)
