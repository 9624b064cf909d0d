"""The inner and outer objectives as functions of the coefficients θ of h.

    J(ω, θ) = Σ_f [(1/Σw) Σ_i w_i ℓ_in(ω, h_θ(x_i), t_i) + (ridge/2) ‖h_θ‖²]   (up to a constant)
    L(ω, θ) = (1/Σv) Σ_j v_j ℓ_out(ω, h_θ(x'_j), y_j) + penalty(ω)

θ is the space's representation of h: coefficients of features (F, q, p) or of kernel functions
(F, n, p), or the weights of a network.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ._training.descent import batch_of
from ._training.objectives import Pointwise


def inner_objective(instance, whole=False, rows=None):
    """θ ↦ J(ω, θ), or its unbiased estimate with (n/b) Σ_B w_i ℓ_i / Σw from b rows B.

    Terms that do not depend on θ are included if ``whole``.
    """
    batch = batch_of(instance, (rows, None))
    inner = batch.inner
    values_at = instance.space.on(instance.inner.x, inner.x)
    if whole or rows is not None:
        losses_at = lambda values, *_: (batch.inner_losses(values),)  # noqa: E731
    else:  # computed once
        losses_at = Pointwise.of(instance)
    weights = inner.weight_matrix()
    total = jnp.sum(instance.inner.weight_matrix(), -1) * inner.size / instance.inner.size

    def objective(coefficients):
        values = values_at(coefficients)
        # The loss of a left-out point may overflow: it must not turn a weight of zero into NaN.
        kept = jnp.where(weights[:, :, None] > 0, values, 0)
        losses = jnp.where(weights > 0, losses_at(kept, instance, None)[0], 0)
        square = instance.space.square_norm(inner, coefficients, values, total)
        return jnp.sum(jnp.sum(weights * losses, -1) / total + 0.5 * instance.ridge * square)

    return objective


def outer_objective(instance, rows=None):
    """θ ↦ L(ω, θ), or its estimate from some rows."""
    batch = batch_of(instance, (None, rows))

    def objective(coefficients):
        values = instance.space.evaluate(instance.inner.x, batch.outer.x, coefficients)
        if rows is None:
            return instance.outer_value(values) + instance.penalty_value()
        # outer_value would divide by the weights of the batch, which gives a biased estimate.
        mean = batch.outer_sum(values) / (values.shape[0] * values.shape[1])
        return mean / jnp.mean(instance.outer.weight_matrix()) + instance.penalty_value()

    return objective


def start(instance, key):
    """θ from which a method starts: zero if h is linear in θ, else random."""
    replicates, p = instance.ridge.shape[0], instance.n_outputs
    return instance.space.start(key, instance.inner, p, replicates)


def rows(coefficients):
    """θ as a matrix (F, N), and the inverse of this map."""
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
