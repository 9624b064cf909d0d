"""What the networks are trained on: the inner objective and the adjoint's, on batches of rows.

    J(h)     = (1/Σw) Σ w_i ℓ_in(ω, h(x_i), t_i) + (ridge/2) ‖h‖²
    J_adj(a) = (1/Σw) Σ w_i ½ a(x_i)ᵀD_i a(x_i) + (ridge/2) ‖a‖² + Σ_j slopes_j·a(x'_j)

Both are summed over replicates. On b of n rows a sum is n/b times that of the rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..losses import Loss
from ..spaces.neural import Adjoint, Prediction
from .descent import batch_of


def constant_curvature(instance) -> bool:
    """Whether the inner loss is ½‖v‖² + s·v + c in v, s and c of the sample and of ω."""
    loss = instance.problem.inner_loss
    return isinstance(loss, Loss) and loss.constant_curvature


def pointwise(instance, p):
    """(values, batch, rows) to ℓ_in and ∂_vℓ_in, up to constants in v.

    A loss of constant curvature is known from its slopes at zero: what ω makes of the targets is
    then computed here, once, and not in every step.
    """
    if not constant_curvature(instance):
        return lambda values, batch, rows: (batch.inner_losses(values), batch.inner_slopes(values))
    x = instance.inner.x
    slopes = instance.inner_slopes(jnp.zeros((1, len(x), p), x.dtype))

    def of(values, batch, rows):
        own = slopes if rows is None else slopes[:, rows[0]]
        return jnp.sum((0.5 * values + own) * values, -1), values + own

    return of


def inner_objective(instance):
    """(params, rows) to J, up to a constant."""
    total = jnp.sum(instance.inner.weight_matrix(), -1)
    of = pointwise(instance, instance.problem.n_outputs or 1)

    def objective(params, rows):
        batch = batch_of(instance, rows)
        function = Prediction(params)
        values = batch.space.evaluate(None, batch.inner.x, function)
        square = jnp.sum(batch.space.jets(batch.inner.x, function, values) ** 2, -1)
        terms = of(values, batch, rows)[0] + 0.5 * instance.ridge[:, None] * square
        return jnp.sum(_mean(batch, instance.inner.size, total, terms))

    return objective


def adjoint_objective(instance, h_inner, slopes):
    """(params, rows) to J_adj, at given values h(x_i) (F, n, p) and ∂_{h(x'_j)}L (F, m, p)."""
    total = jnp.sum(instance.inner.weight_matrix(), -1)

    def objective(params, rows):
        batch = batch_of(instance, rows)
        function = Adjoint(params)
        h, g = h_inner, slopes
        if rows is not None:
            h, g = h_inner[:, rows[0]], slopes[:, rows[1]]
        # At all points at once: one pass over the weights, not two.
        both = jnp.concatenate([batch.inner.x, batch.outer.x])
        everywhere = batch.space.evaluate(None, both, function)
        values, outside = jnp.split(everywhere, [batch.inner.size], axis=1)
        curved = values
        if not constant_curvature(instance):
            # D_i a(x_i): a derivative of the slopes along a, in function values alone.
            curved = jax.jvp(batch.inner_slopes, (h,), (values,))[1]
        square = jnp.sum(batch.space.jets(batch.inner.x, function, values) ** 2, -1)
        terms = jnp.sum(values * curved, -1) + instance.ridge[:, None] * square
        quadratic = 0.5 * jnp.sum(_mean(batch, instance.inner.size, total, terms))
        linear = (instance.outer.size / g.shape[1]) * jnp.sum(g * outside)
        return quadratic + linear

    return objective


def _mean(batch, size, total, terms):
    """(F, b) to (F,): (1/Σw) Σ w_i ·, estimated from the rows of the batch."""
    weights = batch.inner.weight_matrix()
    # The loss of a left-out point may overflow: it must not turn a weight of zero into NaN.
    kept = jnp.where(weights > 0, terms, 0)
    return (size / batch.inner.size) * jnp.sum(weights * kept, -1) / total
