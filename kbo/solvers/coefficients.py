"""Both objectives as functions of the coefficients θ of h.

    J(ω, θ) = Σ_f [(1/Σw) Σ_i w_i ℓ_in(ω, h_θ(x_i), t_i) + (ridge/2) ‖h_θ‖²]   (up to a constant)
    L(ω, θ) = (1/Σv) Σ_j v_j ℓ_out(ω, h_θ(x'_j), y_j) + penalty(ω)

θ is what the space represents h by: (F, q, p) features, (F, n, p) kernel coefficients, weights.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .objectives import pointwise


def inner_objective(problem, omega, whole=False):
    """θ ↦ J(ω, θ), with ``whole`` also what does not depend on θ."""
    instance = problem.at(omega)
    inner = instance.inner
    values_at = instance.space.on(inner.x, inner.x)
    if whole:
        losses_at = lambda values, *_: (instance.inner_losses(values),)  # noqa: E731
    else:  # computed once
        losses_at = pointwise(instance, problem.n_outputs or 1)
    weights = inner.weight_matrix()
    total = jnp.sum(weights, -1)

    def objective(coefficients):
        values = values_at(coefficients)
        # The loss of a left-out point may overflow: it must not turn a weight of zero into NaN.
        kept = jnp.where(weights[:, :, None] > 0, values, 0)
        losses = jnp.where(weights > 0, losses_at(kept, instance, None)[0], 0)
        square = instance.space.square_norm(inner, coefficients, values)
        return jnp.sum(jnp.sum(weights * losses, -1) / total + 0.5 * instance.ridge * square)

    return objective


def outer_objective(problem, omega):
    """θ ↦ L(ω, θ)."""
    instance = problem.at(omega)

    def objective(coefficients):
        values = instance.space.evaluate(instance.inner.x, instance.outer.x, coefficients)
        return instance.outer_value(values) + instance.penalty_value()

    return objective


def start(problem, omega, key):
    """θ to descend from; see Space.start."""
    instance = problem.at(omega)
    replicates, p = instance.ridge.shape[0], problem.n_outputs or 1
    return instance.space.start(key, instance.inner, p, replicates)


def rows(coefficients):
    """θ as a matrix (F, N), and the function that undoes this."""
    leaves, structure = jax.tree.flatten(coefficients)
    matrix = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], 1)

    def undo(matrix):
        made, first = [], 0
        for leaf in leaves:
            last = first + leaf[0].size
            made.append(matrix[:, first:last].reshape(leaf.shape).astype(leaf.dtype))
            first = last
        return jax.tree.unflatten(structure, made)

    return matrix, undo
