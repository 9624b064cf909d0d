"""Proximal gradient steps as an Optax transformation, for θ or for ω."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


class ProximalStep(optax.GradientTransformation):
    """A transformation whose steps minimise L + R: where they end, ∇L does not vanish."""


def proximal_gradient(rate, regularizer) -> ProximalStep:
    """x ← prox_{rate R}(x − rate ∇f(x)): minimises f + R for a non-smooth R (ISTA if R is L1).

    Use it for θ in Unrolled or MinMin. For ω, give R as the ``penalty`` of the problem, which
    ``ProximalGradient`` minimises with line searches; in Optax, whose steps have a fixed rate, all
    steps are made and the last iterate is returned, with the value L, without R.

    Parameters
    ----------
    rate : float or callable
        Below 2/‖∇²f‖; or a schedule, a function of the number of steps so far.
    regularizer : kbo.regularizers.Regularizer
        R, or any object with its method ``prox(params, rate)``. Unrolled needs ``prox`` to be
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

    return ProximalStep(init, update)
