"""Objectives of a network that ends in a LastLayer, minimised over that layer (an L2 space).

    J(φ) = min_W J([φ, 1]W) + (decay/2)‖W‖²         and J_adj(φ) likewise,

for inner losses of constant curvature, for which both are quadratic in W.
"""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp

from .descent import batch_of
from .last_layer import feature_layer
from .objectives import Pointwise, shares_of


class SolvedLayer(abc.ABC):
    """(params, rows) ↦ min_W ½ Σ shares (1 + ridge)|v|² + b·W + (decay/2)‖W‖², up to a constant.

    Parameters
    ----------
    instance : Instance
    network : LastLayer
    """

    def __init__(self, instance, network):
        self.instance, self.network = instance, network

    @abc.abstractmethod
    def _terms(self, params, rows):
        """The features (F, b, q) at the inner points, b (F, q, p) and the batch."""

    def __call__(self, params, rows):
        """The objective."""
        design, linear, batch = self._terms(params, rows)
        # The derivative of a minimum does not need that of the minimiser.
        layer = self._minimiser(*map(jax.lax.stop_gradient, (design, linear)), batch)
        return self._objective(design, linear, batch, layer)

    def complete(self, params):
        """The weights, with the last layer W solved for on all rows."""
        return {**params, "layer": self._minimiser(*self._terms(params, None))}

    def _curved(self, batch):
        return (1 + batch.ridge[:, None]) * shares_of(self.instance, batch)

    def _objective(self, design, linear, batch, layer):
        bowl = jnp.sum(self._curved(batch)[..., None] * (design @ layer) ** 2)
        square = jnp.sum(layer**2)
        return 0.5 * (bowl + self.network.decay * square) + jnp.sum(linear * layer)

    def _minimiser(self, design, linear, batch):
        solve = lambda own: feature_layer(*own, self.network.decay)  # noqa: E731
        return jax.lax.map(solve, (design, self._curved(batch), -linear))


class SolvedInner(SolvedLayer):
    """min_W J + (decay/2)‖W‖² as a function of the weights of φ."""

    def __init__(self, instance):
        super().__init__(instance, instance.space.network)
        self._at_zero = Pointwise.of(instance).at_zero

    def _terms(self, params, rows):
        batch = batch_of(self.instance, rows)
        slopes = self._at_zero if rows is None else self._at_zero[:, rows[0]]
        design = batch.space.last_features(self.network, params, batch.inner.x)
        pulled = shares_of(self.instance, batch)[..., None] * slopes
        return design, jnp.einsum("fiq,fip->fqp", design, pulled), batch


class SolvedAdjoint(SolvedLayer):
    """min_W J_adj + (decay/2)‖W‖² as a function of φ's weights, given ∂_{h(x'_j)}L (F, m, p)."""

    def __init__(self, instance, slopes):
        super().__init__(instance, instance.space.adjoint)
        self._slopes = slopes

    def _terms(self, params, rows):
        batch = batch_of(self.instance, rows)
        g = self._slopes if rows is None else self._slopes[:, rows[1]]
        g = (self.instance.outer.size / g.shape[1]) * g
        # At all points at once, which takes one pass over the weights instead of two.
        both = jnp.concatenate([batch.inner.x, batch.outer.x])
        design = batch.space.last_features(self.network, params, both)
        inside, outside = jnp.split(design, [batch.inner.size], axis=1)
        return inside, jnp.einsum("fjq,fjp->fqp", outside, g), batch
