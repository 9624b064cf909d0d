"""Objectives of a network that ends in a LastLayer, minimised over that layer (an L2 space).

    J(φ) = min_W J([φ, 1]W)         J_adj(φ) = min_W J_adj([φ, 1]W)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .descent import batch_of
from .last_layer import Norm, last_layer, solve
from .objectives import Pointwise, constant_curvature, penalised, shares_of


class SolvedInner:
    """min_W J at weights of φ."""

    def __init__(self, instance):
        self.instance, self._of = instance, Pointwise.of(instance)

    def _solved(self, params, rows):
        batch = batch_of(self.instance, rows)
        design = batch.space.last_features(batch.space.network, params, batch.inner.x)
        shares = shares_of(self.instance, batch)
        of_batch = lambda values: self._of(values, batch, rows)  # noqa: E731
        layer = last_layer(batch, of_batch, design, shares, Norm.VALUES)
        return batch, shares, of_batch, design, layer

    def __call__(self, params, rows):
        """J, up to a constant."""
        batch, shares, of_batch, design, layer = self._solved(params, rows)
        values = design @ layer
        square = jnp.sum(shares[..., None] * values**2, (1, 2))
        return penalised(batch, shares, of_batch(values)[0], square)

    def complete(self, params):
        """The weights with W solved for on all rows."""
        return {**params, "layer": self._solved(params, None)[-1]}


class SolvedAdjoint:
    """min_W J_adj at weights of φ, given values h(x_i) (F, n, p) and ∂_{h(x'_j)}L (F, m, p)."""

    def __init__(self, instance, h_inner, slopes):
        self.instance, self._h, self._slopes = instance, h_inner, slopes

    def _solved(self, params, rows):
        batch = batch_of(self.instance, rows)
        h, g = self._h, self._slopes
        if rows is not None:
            h, g = h[:, rows[0]], g[:, rows[1]]
        g = (self.instance.outer.size / g.shape[1]) * g
        shares = shares_of(self.instance, batch)
        curved = shares
        if not constant_curvature(batch):
            curved = shares[..., None, None] * batch.inner_curvatures(h)
        # At all points at once: one pass over the weights, not two.
        both = jnp.concatenate([batch.inner.x, batch.outer.x])
        design = batch.space.last_features(batch.space.adjoint, params, both)
        inside, outside = jnp.split(design, [batch.inner.size], axis=1)
        right = -jnp.einsum("fjq,fjp->fqp", outside, g)
        held = jax.lax.stop_gradient
        layer = held(solve(batch, held(inside), curved, held(right), shares, Norm.VALUES))
        return batch, shares, curved, g, inside, outside, layer

    def __call__(self, params, rows):
        """J_adj."""
        batch, shares, curved, g, inside, outside, layer = self._solved(params, rows)
        values = inside @ layer
        if curved.ndim == 4:
            bent = jnp.einsum("fiab,fib->fia", curved, values)
        else:
            bent = curved[..., None] * values
        square = jnp.sum(shares[..., None] * values**2, (1, 2))
        quadratic = jnp.sum(values * bent, (1, 2)) + batch.ridge * square
        return 0.5 * jnp.sum(quadratic) + jnp.sum(g * (outside @ layer))

    def complete(self, params):
        """The weights with W solved for on all rows."""
        return {**params, "layer": self._solved(params, None)[-1]}
