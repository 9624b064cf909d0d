"""Functions represented by networks, with an inner product of functions rather than of weights."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import linalg
from ..kernels import Composed, Kernel, as_kernel
from ..module import Module
from ..networks import MLP, LastLayer, Network, as_network, initial_weights, positive_integer
from .base import Evaluations, Frozen, Space
from .features import FeatureSpace
from .rkhs import RKHS

BLOCK = 8192  # rows on which a network is evaluated at once


class Prediction(NamedTuple):
    """Weights of the network for h, each leaf with a leading axis (F,)."""

    params: Any


class Adjoint(NamedTuple):
    """Weights of the network for a."""

    params: Any


class InnerProduct(Module):
    """⟨h, a⟩ = (1/Σw) Σ_i w_i jet_h(x_i)·jet_a(x_i), over the inner sample."""

    @abc.abstractmethod
    def jet(self, function, x, value) -> jax.Array:
        """The part of a function that enters at one point, (r,); ``value`` is function(x)."""


class L2(InnerProduct):
    """⟨h, a⟩ = (1/Σw) Σ_i w_i h(x_i)·a(x_i).

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Section 2.
    """

    def jet(self, function, x, value):
        return value


class Sobolev(InnerProduct):
    """⟨h, a⟩ = (1/Σw) Σ_i w_i (h(x_i)·a(x_i) + c ∇h(x_i)·∇a(x_i)).

    The ridge then penalises slopes as well. Training needs ∂_θ∂_x of the networks, but never ∂²_θ.

    Parameters
    ----------
    slope_weight : float
        c, in units of x².
    """

    slope_weight: float = 1.0

    def jet(self, function, x, value):
        jacobian = jax.jacfwd(function)(x)
        return jnp.concatenate([value, jnp.sqrt(self.slope_weight) * jacobian.ravel()])


class NeuralSpace(Space):
    """h and a are networks; ⟨h, a⟩ is an inner product of functions, by default L2 (inner sample).

    This is FuncID: both networks are trained on objectives that are convex in the *function*. The
    hypergradient is the functional one, and no second derivative of a network is ever taken. It is
    exact for a network that is linear in its weights; otherwise it is as accurate as the fits of
    the two networks.

    The adjoint's objective contains Σ_j g_j·a(x'_j), which a flexible network trained for long can
    lower without bound at outer points that are far from all inner points. More points, fewer steps
    or weight decay (optax.adamw) make a generalise better, as they do for h.

    Parameters
    ----------
    network : kbo.networks.Network, module or pair (init, apply), default MLP()
        Represents h, from one point (d,) to (p,).
    adjoint : likewise, default ``network``
        Represents a.
    inner_product : InnerProduct, default L2()

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Algorithm 1.
    """

    network: Network
    adjoint: Network
    inner_product: InnerProduct

    def __init__(self, network=None, adjoint=None, inner_product=None):
        self.network = as_network(MLP() if network is None else network)
        self.adjoint = self.network if adjoint is None else as_network(adjoint)
        self.inner_product = L2() if inner_product is None else inner_product
        solved = any(isinstance(n, LastLayer) for n in (self.network, self.adjoint))
        if solved and not isinstance(self.inner_product, L2):
            raise ValueError(
                f"inner_product={type(self.inner_product).__name__} with a LastLayer, which is "
                "solved for in L2: use the inner product L2, or a network such as MLP"
            )

    def initial(self, key, x, p, replicates) -> tuple[Prediction, Adjoint]:
        """Weights of both networks, drawn by ``key`` for points like ``x`` (d,).

        ``p`` is the number of outputs, ``replicates`` that of independent draws.
        """
        keys = jax.random.split(key)
        return (
            Prediction(initial_weights(self.network, keys[0], x, p, replicates)),
            Adjoint(initial_weights(self.adjoint, keys[1], x, p, replicates)),
        )

    def _network(self, coefficients):
        return self.adjoint if isinstance(coefficients, Adjoint) else self.network

    def evaluate(self, points, x, coefficients):
        return _everywhere(self._network(coefficients).apply, coefficients.params, x)

    def last_features(self, network, params, x):
        """[φ(x), 1], the input of a network's LastLayer, (F, n, q), with the weights ``params``."""
        return _everywhere(network.features, params, x)

    def jets(self, x, coefficients, values):
        """The parts at ``x`` of a function that enter ⟨·, ·⟩, (F, n, r).

        The function has ``coefficients``, and known ``values`` (F, n, p).
        """
        network = self._network(coefficients)

        def of_one(of):
            params, values = of
            function = lambda z: network.apply(params, z)  # noqa: E731
            return jax.vmap(lambda z, v: self.inner_product.jet(function, z, v))(x, values)

        return jax.lax.map(of_one, (coefficients.params, values))

    def evaluations(self, inner, outer, frozen: Frozen, shared=False) -> Evaluations:
        # The weights of both networks are fixed: the values depend on ω only through the points.
        known = linalg.with_known_value
        h_inner = known(frozen.h_inner, self.evaluate(None, inner.x, frozen.h))
        a_inner = known(frozen.a_inner, self.evaluate(None, inner.x, frozen.a))
        h_outer = h_inner if shared else self.evaluate(None, outer.x, frozen.h)
        h_outer = known(frozen.h_outer, h_outer)
        product = self.pairing(inner, (frozen.h, h_inner), (frozen.a, a_inner))
        return Evaluations(h_inner, h_outer, a_inner, product)

    def square_norm(self, inner, coefficients, values, total=None):
        """⟨h, h⟩, (F,)."""
        return self.pairing(inner, (coefficients, values), (coefficients, values), total)

    def start(self, key, inner, p, replicates):
        """The weights of h that ``initial`` draws."""
        return self.initial(key, inner.x[0], p, replicates)[0]

    def pairing(self, sample, left, right, total=None):
        """⟨·, ·⟩ (F,) of two pairs, ``left`` and ``right``: (function, its values at the sample).

        Weighted sums are divided by ``total`` (F,), by default the sum of the weights.
        """
        weights = sample.weight_matrix()
        product = jnp.sum(self.jets(sample.x, *left) * self.jets(sample.x, *right), -1)
        total = jnp.sum(weights, -1) if total is None else total
        return jnp.sum(weights * jnp.where(weights > 0, product, 0), -1) / total


def _everywhere(function, params, x):
    """function(params, point) for F replicates of weights at points (n, d): (F, n, q)."""

    def of_one(own):
        on_point = lambda z: function(own, z)  # noqa: E731
        if x.shape[0] <= BLOCK:
            return jax.vmap(on_point)(x)
        return jax.lax.map(on_point, x, batch_size=BLOCK)

    # One replicate after another, since batched matrix products are slow on CPUs.
    return jax.lax.map(of_one, params)


class NeuralFeatures(Module):
    """h(x) = [φ(x), 1]ᵀW with ‖h‖ = ‖W‖, or h in the RKHS of k(φ(x), φ(z)), where φ is a network.

    This is FuncID-linear: φ is trained by gradient on the inner objective minimised over h. On the
    trained φ, h and a are solved for exactly, as in FeatureSpace or RKHS.

    Parameters
    ----------
    network : as in NeuralSpace, default MLP()
        φ, from one point (d,) to (n_features,).
    n_features : int
        The size of φ(x).
    kernel : kbo.kernels.Kernel, optional
        k; without it the last layer is linear.

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Section 4.1. Wilson et
    al. (2016), Deep Kernel Learning, eq. (5).
    """

    network: Network
    n_features: int = eqx.field(static=True)
    kernel: Kernel | None

    def __init__(self, network=None, n_features=32, kernel=None):
        self.network = as_network(MLP() if network is None else network)
        self.n_features = positive_integer("n_features", n_features)
        self.kernel = None if kernel is None else as_kernel(kernel)

    def initial(self, key, x):
        """Weights of φ, drawn by ``key``, for points like ``x`` (d,)."""
        params = initial_weights(self.network, key, x, self.n_features, 1)
        return jax.tree.map(lambda leaf: leaf[0], params)

    def with_weights(self, params) -> Space:
        """The space on top of φ with the weights ``params``."""
        if self.kernel is None:
            return FeatureSpace(NetworkFeatures(self.network, params, constant=True))
        return RKHS(Composed(self.kernel, NetworkFeatures(self.network, params, constant=False)))


class NetworkFeatures(Module):
    """φ, or [φ, 1], with its weights: a map from one point (d,) to (q,)."""

    network: Network
    params: Any
    constant: bool = eqx.field(static=True)

    def __call__(self, x):
        features = self.network.apply(self.params, x)
        return jnp.append(features, jnp.ones((), x.dtype)) if self.constant else features
