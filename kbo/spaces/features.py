"""Finite-dimensional spaces: linear functions of a feature map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..module import Module
from .base import Evaluations, Frozen, Space


class FeatureSpace(Space):
    """h(x) = φ(x)ᵀθ with ‖h‖² = ‖θ‖², θ of shape (q, p).

    Parameters
    ----------
    feature_map : callable
        Maps one point (d,) to features (q,); an Equinox module may carry parameters.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> space = kbo.FeatureSpace(lambda x: jnp.concatenate([jnp.ones(1), x, x**2]))
    >>> print(space.features(jnp.array([[2.0], [3.0]])))
    [[1. 2. 4.]
     [1. 3. 9.]]
    """

    feature_map: Callable

    def __init__(self, feature_map):
        if not callable(feature_map):
            raise ValueError("feature_map must be a callable from a point (d,) to features (q,)")
        self.feature_map = feature_map

    def features(self, x) -> jax.Array:
        """Φ, (n, q), of points ``x`` (n, d)."""
        return jax.vmap(self.feature_map)(x)

    def evaluate(self, points, x, coefficients):
        return self.on(points, x)(coefficients)

    def on(self, points, x):
        """coefficients ↦ their values at x, with the features of x computed once."""
        features = self.features(x)
        return lambda coefficients: jnp.einsum("iq,fqp->fip", features, coefficients)

    def square_norm(self, inner, coefficients, values, total=None):
        """‖h‖² = ‖θ‖², (F,)."""
        return jnp.sum(coefficients**2, (1, 2))

    def start(self, key, inner, p, replicates):
        """Zeros (F, q, p)."""
        q = jax.eval_shape(self.feature_map, inner.x[0]).shape[0]
        return jnp.zeros((replicates, q, p), inner.x.dtype)

    def evaluations(self, inner, outer, frozen: Frozen, shared=False) -> Evaluations:
        # Galerkin form: the coefficients of both h and a are fixed; the features move.
        features = self.features(inner.x)
        outside = features if shared else self.features(outer.x)
        h_inner, h_outer = (jnp.einsum("iq,fqp->fip", f, frozen.h) for f in (features, outside))
        a_inner = jnp.einsum("iq,fqp->fip", features, frozen.a)
        return Evaluations(h_inner, h_outer, a_inner, jnp.sum(frozen.h * frozen.a, (1, 2)))


class RandomFourierFeatures(Module):
    """φ(x) = √(2/q)·cos(Wx/lengthscale + b): E φ(x)ᵀφ(z) = exp(−‖x − z‖²/(2 lengthscale²)).

    Parameters
    ----------
    n_features : int
        q.
    dim : int
        d.
    lengthscale : float, array (d,)
        A hyperparameter: W and b are drawn once, for a lengthscale of one.
    seed : int

    References
    ----------
    Rahimi, Recht (2007), Random Features for Large-Scale Kernel Machines, Algorithm 1.
    """

    frequencies: jax.Array
    phases: jax.Array
    lengthscale: Any

    def __init__(self, n_features, dim, lengthscale=1.0, seed=0):
        rng = np.random.default_rng(seed)
        self.frequencies = jnp.asarray(rng.standard_normal((n_features, dim)))
        self.phases = jnp.asarray(rng.uniform(0, 2 * np.pi, n_features))
        self.lengthscale = lengthscale

    def __call__(self, x):
        q = self.phases.shape[0]
        return jnp.sqrt(2 / q) * jnp.cos(self.frequencies @ (x / self.lengthscale) + self.phases)

    def with_lengthscale(self, lengthscale) -> RandomFourierFeatures:
        """The same draw at another lengthscale, for a ``space`` that is a callable of ω."""
        return eqx.tree_at(lambda f: f.lengthscale, self, lengthscale)
