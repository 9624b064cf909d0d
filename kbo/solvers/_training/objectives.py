"""The objectives on which networks are trained, inner and adjoint, on batches of rows.

    J(h)     = (1/Σw) Σ w_i ℓ_in(ω, h(x_i), t_i) + (ridge/2) ‖h‖²
    J_adj(a) = (1/Σw) Σ w_i ½ a(x_i)ᵀD_i a(x_i) + (ridge/2) ‖a‖² + Σ_j slopes_j·a(x'_j)

Both are summed over replicates. From b of n rows, a sum over all rows is estimated as n/b times
the sum over these.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ...module import Module
from ...spaces.neural import Adjoint, Prediction
from .descent import batch_of


def constant_curvature(instance) -> bool:
    """Whether the inner loss is ½‖v‖² + s·v + c in v, where s and c depend on sample and ω."""
    return instance.problem.inner_loss.constant_curvature


class Pointwise(Module):
    """Maps (values, batch, rows) to ℓ_in and ∂_vℓ_in, up to constants in v.

    A loss of constant curvature follows from its slopes at v = 0. Terms in ω and the targets are
    then computed once, not in every step.

    Attributes
    ----------
    at_zero : array (F, n, p) or None
        These slopes; None for other losses.
    """

    at_zero: jax.Array | None

    @classmethod
    def of(cls, instance):
        """The Pointwise of an instance's inner loss."""
        if not constant_curvature(instance):
            return cls(None)
        x = instance.inner.x
        return cls(instance.inner_slopes(jnp.zeros((1, len(x), instance.n_outputs), x.dtype)))

    def __call__(self, values, batch, rows):
        if self.at_zero is None:
            return batch.inner_losses(values), batch.inner_slopes(values)
        own = self.at_zero if rows is None else self.at_zero[:, rows[0]]
        return jnp.sum((0.5 * values + own) * values, -1), values + own


def training_objective(instance):
    """The function (params, rows) ↦ J, up to a constant."""
    of = Pointwise.of(instance)

    def objective(params, rows):
        batch = batch_of(instance, rows)
        function = Prediction(params)
        values = batch.space.evaluate(None, batch.inner.x, function)
        square = jnp.sum(batch.space.jets(batch.inner.x, function, values) ** 2, -1)
        shares = shares_of(instance, batch)
        norm = jnp.sum(shares * jnp.where(shares > 0, square, 0), -1)
        return penalised(batch, shares, of(values, batch, rows)[0], norm)

    return objective


def shares_of(instance, batch):
    """(n/b) w_i/Σw for the rows of a batch, (F, b): weights that estimate a mean over all rows."""
    total = jnp.sum(instance.inner.weight_matrix(), -1, keepdims=True)
    return (instance.inner.size / batch.inner.size) * batch.inner.weight_matrix() / total


def penalised(batch, shares, losses, square):
    """Σ shares·losses + (ridge/2) square, for losses (F, b) and square (F,), over replicates."""
    # The loss of a left-out point may overflow: it must not turn a weight of zero into NaN.
    means = jnp.sum(shares * jnp.where(shares > 0, losses, 0), -1)
    return jnp.sum(means + 0.5 * batch.ridge * square)


def adjoint_objective(instance, h_inner, slopes):
    """(params, rows) ↦ J_adj, for given values h(x_i) (F, n, p) and ∂_{h(x'_j)}L (F, m, p)."""

    def objective(params, rows):
        batch = batch_of(instance, rows)
        function = Adjoint(params)
        h, g = h_inner, slopes
        if rows is not None:
            h, g = h_inner[:, rows[0]], slopes[:, rows[1]]
        # At all points at once, which takes one pass over the weights instead of two.
        both = jnp.concatenate([batch.inner.x, batch.outer.x])
        everywhere = batch.space.evaluate(None, both, function)
        values, outside = jnp.split(everywhere, [batch.inner.size], axis=1)
        curved = values
        if not constant_curvature(instance):
            # D_i a(x_i) is the derivative of the slopes along a, with respect to values of h.
            curved = jax.jvp(batch.inner_slopes, (h,), (values,))[1]
        square = jnp.sum(batch.space.jets(batch.inner.x, function, values) ** 2, -1)
        shares = shares_of(instance, batch)
        norm = jnp.sum(shares * jnp.where(shares > 0, square, 0), -1)
        quadratic = penalised(batch, shares, 0.5 * jnp.sum(values * curved, -1), norm)
        linear = (instance.outer.size / g.shape[1]) * jnp.sum(g * outside)
        return quadratic + linear

    return objective
