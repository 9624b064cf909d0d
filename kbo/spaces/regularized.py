"""Linear functions of features whose coefficients are regularized, constrained or shared."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..module import Module
from ..regularizers import Box, Regularizer
from .base import Evaluations, Frozen


class RegularizedFeatures(Module):
    """h(x) = φ(x)ᵀθ, whose inner objective is J(θ) + R(θ) with (ridge/2)‖θ‖² in J::

        θ = argmin (1/Σw) Σ_i w_i ℓ_in(ω, φ(x_i)ᵀθ, t_i) + (ridge/2)‖θ‖² + R(θ)

    R may depend on ω, if the space is a callable of it: ``space=lambda w: RegularizedFeatures(φ,
    L1(jnp.exp(w)))``. With L1, squared losses and features x this is the elastic net. The
    hypergradient is that of the solution within the manifold on which R is smooth, the
    coefficients that are not zero, say. It is the gradient wherever small changes of ω leave this
    manifold as it is; L has kinks where they do not. The ridge may be zero if J is strictly convex
    within the manifold.

    A matrix φ(x) (q, p) makes all p predictions linear in one θ (q,). They may be one function at
    p points, with x (d,) the points one after another, or derivatives of it: so the inner loss of
    one sample sees h at several points.

    Parameters
    ----------
    feature_map : callable
        Maps one point (d,) to features (q,), or to a matrix (q, p) where ``n_outputs`` is p.
    regularizer : kbo.regularizers.Regularizer, optional
        R, of θ (q, p), or (q, 1) if p is 1 or φ(x) is a matrix. Each replicate has its own θ.

    References
    ----------
    Bertrand, Klopfenstein, Massias, Blondel, Vaiter, Gramfort, Salmon (2022), Implicit
    Differentiation for Fast Hyperparameter Selection in Non-Smooth Convex Learning, Theorem 3.9.
    """

    feature_map: Callable
    regularizer: Regularizer

    centers = None
    mesh = None

    def __init__(self, feature_map, regularizer=None):
        regularizer = Box() if regularizer is None else regularizer
        if not callable(feature_map):
            raise ValueError("feature_map must be a callable from a point (d,) to features (q,)")
        if not isinstance(regularizer, Regularizer):
            raise ValueError(
                f"regularizer={regularizer!r} must be a kbo.regularizers.Regularizer, such as "
                "kbo.regularizers.L1(0.1)"
            )
        self.feature_map, self.regularizer = feature_map, regularizer

    def start(self, key, inner, p, replicates):
        """Zeros, θ (F, q, p) or (F, q, 1), whatever ``key``; F is ``replicates``.

        ``inner`` is the inner sample.
        """
        shape = jax.eval_shape(self.feature_map, inner.x[0]).shape
        return jnp.zeros((replicates, shape[0], p if len(shape) == 1 else 1), inner.x.dtype)

    def on(self, points, x):
        """θ ↦ its values (F, n, p) at x, with the features of x computed once.

        ``points`` have no part in it.
        """
        features = jax.vmap(self.feature_map)(x)
        formula = "iq,fqp->fip" if features.ndim == 2 else "iqp,fqr->fip"
        return lambda theta: jnp.einsum(formula, features, theta)

    def evaluate(self, points, x, coefficients):
        """Values (F, n, p) at ``x`` of the functions with ``coefficients``, whatever ``points``."""
        return self.on(points, x)(coefficients)

    def slopes(self, coefficients):
        """∂R(θ), like θ, along the manifold of each θ in ``coefficients``."""
        return jax.vmap(jax.grad(self.regularizer))(coefficients)

    def evaluations(self, inner, outer, frozen: Frozen, shared=False) -> Evaluations:
        """As in Space, for ``inner``, ``outer``, ``frozen`` and ``shared``.

        The coefficients move with their manifold.
        """
        h, inside = jax.vmap(self.regularizer.moved)(frozen.h), self.on(None, inner.x)
        outside = inside if shared else self.on(None, outer.x)
        pairing = lambda other: jnp.sum(frozen.a * other, (1, 2))  # noqa: E731
        return Evaluations(
            inside(h), outside(h), inside(frozen.a), pairing(h), pairing(self.slopes(h))
        )
