"""Conjugate gradients for several systems at once, as one loop that JAX compiles."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def traced_conjugate_gradients(times, rhs, precondition, tol, max_steps):
    """Solve A_f u_f = r_f for F symmetric systems at once, inside a JAX program.

    A direction whose curvature is that of rounding ends the iteration: A is singular there.

    Parameters
    ----------
    times, precondition : callable
        A and P⁻¹, applied to arrays (F, N, p).
    rhs : array (F, N, p)
    tol : float
        Of ‖r − Au‖/‖r‖.
    max_steps : int

    Returns
    -------
    u : array (F, N, p)
    relative : array (F,)
        ‖r − Au‖/‖r‖.
    """
    dot = lambda a, b: jnp.sum(a * b, (1, 2))  # noqa: E731
    spread = lambda scalars: scalars[:, None, None]  # noqa: E731
    least, eps = tol**2 * dot(rhs, rhs), jnp.finfo(rhs.dtype).eps

    def going(carry):
        _, residual, _, _, largest, k = carry
        return (k < max_steps) & jnp.any((dot(residual, residual) > least) & (largest >= 0))

    def step(carry):
        u, residual, direction, rho, largest, k = carry
        image = times(direction)
        curvature = dot(direction, image)
        ratio = curvature / jnp.maximum(dot(direction, direction), 1e-300)
        singular = ratio <= 1e2 * eps * largest
        active = (dot(residual, residual) > least) & ~singular & (largest >= 0)
        length = spread(jnp.where(active, rho / jnp.where(active, curvature, 1.0), 0.0))
        u, residual = u + length * direction, residual - length * image
        z = precondition(residual)
        rho, growth = dot(residual, z), dot(residual, z) / jnp.where(rho > 0, rho, 1.0)
        ahead = jnp.where(spread(active), z + spread(growth) * direction, direction)
        largest = jnp.where(singular, -1.0, jnp.maximum(largest, ratio))
        return u, residual, ahead, rho, largest, k + 1

    first = precondition(rhs)
    start = (jnp.zeros_like(rhs), rhs, first, dot(rhs, first), jnp.zeros_like(least), 0)
    u, *_ = jax.lax.while_loop(going, step, start)
    rest, size = rhs - times(u), jnp.sqrt(dot(rhs, rhs))
    return u, jnp.sqrt(dot(rest, rest)) / jnp.where(size > 0, size, 1.0)
