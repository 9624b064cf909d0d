"""Linear functions of features whose coefficients are regularized or constrained."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from ..regularizers import Regularizer
from .base import Evaluations, Frozen
from .features import FeatureSpace


class RegularizedFeatures(eqx.Module):
    """h(x) = φ(x)ᵀθ, whose inner objective is J(θ) + R(θ) with (ridge/2)‖θ‖² in J.

        θ = argmin (1/Σw) Σ_i w_i ℓ_in(ω, φ(x_i)ᵀθ, t_i) + (ridge/2)‖θ‖² + R(θ)

    R may depend on ω, if the space is a callable of it: ``space=lambda w: RegularizedFeatures(φ,
    L1(jnp.exp(w)))``. With L1, squared losses and features x this is the elastic net. The
    hypergradient is that of the solution within the manifold on which R is smooth, the
    coefficients that are not zero, say. It is the gradient wherever small changes of ω leave this
    manifold as it is; L has kinks where they do not. The ridge may be zero if J is strictly convex
    within the manifold.

    Parameters
    ----------
    feature_map : callable
        As in FeatureSpace.
    regularizer : kbo.regularizers.Regularizer
        R, of θ (q, p); for scalar predictions p = 1. Each replicate has its own.

    References
    ----------
    Bertrand, Klopfenstein, Massias, Blondel, Vaiter, Gramfort, Salmon (2022), Implicit
    Differentiation for Fast Hyperparameter Selection in Non-Smooth Convex Learning, Theorem 3.9.
    """

    features: FeatureSpace
    regularizer: Regularizer

    centers = None
    mesh = None

    def __init__(self, feature_map, regularizer):
        if not isinstance(regularizer, Regularizer):
            raise ValueError(
                f"regularizer={regularizer!r} must be a kbo.regularizers.Regularizer, such as "
                "kbo.regularizers.L1(0.1)"
            )
        self.features, self.regularizer = FeatureSpace(feature_map), regularizer

    def evaluate(self, points, x, coefficients):
        """See Space."""
        return self.features.evaluate(points, x, coefficients)

    def slopes(self, coefficients):
        """∂R(θ), (F, q, p), along the manifold of each θ."""
        return jax.vmap(jax.grad(self.regularizer))(coefficients)

    def evaluations(self, inner, outer, frozen: Frozen, shared=False) -> Evaluations:
        """See Space; the coefficients move with their manifold."""
        h = jax.vmap(self.regularizer.moved)(frozen.h)
        found = self.features.evaluations(inner, outer, frozen._replace(h=h), shared)
        return found._replace(regularization=jnp.sum(frozen.a * self.slopes(h), (1, 2)))
