"""Networks x ↦ apply(params, x), each a pair of functions ``init`` and ``apply``.

The rest of kbo does not depend on how a network is made.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from .module import Module

__all__ = ["MLP", "LastLayer", "Module", "Network", "Pair"]

POWER_STEPS = 10
LAYER_NORM_EPS = 1e-5


class Network(Module):
    """A parametric map of one point (d,) to (p,)."""

    @abc.abstractmethod
    def init(self, key, x, p):
        """Weights, drawn by ``key``, for points like ``x`` (d,) and p outputs, in x's dtype."""

    @abc.abstractmethod
    def apply(self, params, x) -> jax.Array:
        """The value (p,) at one point ``x`` (d,), with the weights ``params``."""


class MLP(Network):
    """x ↦ W_L σ(… σ(W_1 x + b_1) …) + b_L; without widths, an affine map.

    Parameters
    ----------
    widths : tuple of int
        Widths of the hidden layers.
    activation : str or callable
        σ, applied elementwise after every hidden layer: a name in jax.nn such as "silu", "relu" or
        "tanh" (the network can then be pickled), or a function.
    layer_norm : bool
        Standardise (and rescale, by trained factors) each hidden layer before σ.
    spectral_norm : bool
        Divide each W by its largest singular value, estimated by ten power steps from a fixed
        start, so that every layer is 1-Lipschitz.

    References
    ----------
    Ba, Kiros, Hinton (2016), Layer Normalization, eq. (3). Miyato et al. (2018), Spectral
    Normalization for Generative Adversarial Networks, Algorithm 1.
    """

    widths: tuple[int, ...] = eqx.field(
        static=True, default=(64, 64), converter=lambda widths: tuple(map(int, widths))
    )
    activation: str | Callable = eqx.field(static=True, default="silu")
    layer_norm: bool = eqx.field(static=True, default=False)
    spectral_norm: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if any(width < 1 for width in self.widths):
            raise ValueError(f"widths={self.widths!r} must be positive integers")
        if not callable(self._activation):
            raise ValueError(f"activation={self.activation!r} is no function of jax.nn: name one")

    @property
    def _activation(self):
        named = isinstance(self.activation, str)
        return getattr(jax.nn, self.activation, None) if named else self.activation

    def init(self, key, x, p):
        """Weights drawn as W ~ N(0, 1/fan-in), and b = 0."""
        sizes = (x.shape[0], *self.widths, p)
        layers = []
        for k, (d, q) in enumerate(itertools.pairwise(sizes)):
            weight = jax.random.normal(jax.random.fold_in(key, k), (q, d), x.dtype) / jnp.sqrt(d)
            layer = {"weight": weight.astype(x.dtype), "bias": jnp.zeros(q, x.dtype)}
            if self.layer_norm and k < len(self.widths):
                layer |= {"scale": jnp.ones(q, x.dtype), "shift": jnp.zeros(q, x.dtype)}
            layers.append(layer)
        return layers

    def apply(self, params, x):
        """The value (p,) at one point (d,)."""
        for layer in params[:-1]:
            x = self._affine(layer, x)
            if self.layer_norm:
                centred = x - jnp.mean(x)
                x = centred / jnp.sqrt(jnp.mean(centred**2) + LAYER_NORM_EPS)
                x = layer["scale"] * x + layer["shift"]
            x = self._activation(x)
        return self._affine(params[-1], x)

    def _affine(self, layer, x):
        weight = layer["weight"]
        if self.spectral_norm:
            weight = weight / _largest_singular_value(weight)
        return weight @ x + layer["bias"]


def _largest_singular_value(weight):
    """uᵀWv after power steps; the derivative takes u and v as constants, as at the maximum."""
    held = jax.lax.stop_gradient(weight)

    def step(_, u):
        v = u @ held  # not held.T @ u: XLA for CPUs would write the transpose to memory
        u = held @ (v / jnp.linalg.norm(v))
        return u / jnp.linalg.norm(u)

    start = jnp.ones(weight.shape[0], weight.dtype) / jnp.sqrt(weight.shape[0])
    # Unrolled, because a GPU waits in each turn of a loop.
    u = jax.lax.fori_loop(0, POWER_STEPS, step, start, unroll=True)
    v = u @ held
    return u @ weight @ (v / jnp.linalg.norm(v))


class LastLayer(Network):
    """x ↦ Wᵀ[φ(x), 1], with W stored separately from φ, so that a solver can solve for it.

    In a NeuralSpace, solvers.Gradient does this for inner losses of constant curvature (Squared,
    SquaredTo): its steps move φ along ∇ min_W (J + (decay/2)‖W‖²), and W is that minimiser. Methods
    with steps of their own (Unrolled, single loops) move W like all other weights.

    Parameters
    ----------
    body : Network, module or pair (init, apply)
        φ, from one point (d,) to (n_features,).
    n_features : int
        Of φ.
    decay : float
        Positive. It acts on W as weight decay does on other weights: it keeps W from fitting noise,
        and is not part of the problem that is solved.

    References
    ----------
    Golub, Pereyra (1973), The Differentiation of Pseudo-Inverses and Nonlinear Least Squares
    Problems Whose Variables Separate.
    """

    body: Network
    n_features: int = eqx.field(static=True)
    decay: float = eqx.field(static=True)

    def __init__(self, body=None, n_features=32, decay=1e-3):
        self.body = as_network(MLP() if body is None else body)
        self.n_features = positive_integer("n_features", n_features)
        self.decay = float(decay)
        if not self.decay > 0:
            raise ValueError(f"decay={decay!r} must be positive")

    def init(self, key, x, p):
        """Weights of φ, drawn by ``body``, and W ~ N(0, 1/(n_features + 1))."""
        keys = jax.random.split(key)
        body = initial_weights(self.body, keys[0], x, self.n_features, 1)
        shape = (self.n_features + 1, p)
        layer = jax.random.normal(keys[1], shape, x.dtype) / jnp.sqrt(shape[0])
        return {
            "body": jax.tree.map(lambda leaf: leaf[0], body), "layer": layer.astype(x.dtype)
        }

    def features(self, params, x):
        """[φ(x), 1], (n_features + 1,), with the weights ``params``."""
        return jnp.append(self.body.apply(params["body"], x), jnp.ones((), x.dtype))

    def apply(self, params, x):
        """Wᵀ[φ(x), 1] at one point, (p,)."""
        return self.features(params, x) @ params["layer"]


def positive_integer(name, value) -> int:
    """The value itself, if it is a positive integer.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} must be a positive integer")
    return value


class Module(Network):
    """An Equinox module, or any pytree that is callable on one point (d,).

    It starts from the weights that it holds; the key has no effect.

    Parameters
    ----------
    module : callable pytree
        From a point (d,) to (p,).
    """

    module: Callable

    def init(self, key, x, p):
        """The inexact arrays of the module."""
        return eqx.filter(self.module, eqx.is_inexact_array)

    def apply(self, params, x):
        """The module's value (p,) at one point (d,), with these weights."""
        rest = eqx.filter(self.module, eqx.is_inexact_array, inverse=True)
        return jnp.atleast_1d(eqx.combine(params, rest)(x))


class Pair(Network):
    """``init(key, x) -> params`` and ``apply(params, x) -> (p,)``, as in Flax or Stax.

    Parameters
    ----------
    init_function, apply_function : callable
        They take a PRNG key and a point (d,), and weights and a point.
    """

    init_function: Callable = eqx.field(static=True)
    apply_function: Callable = eqx.field(static=True)

    def init(self, key, x, p):
        """The weights that ``init_function`` returns, in x's dtype."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, x.dtype), self.init_function(key, x))

    def apply(self, params, x):
        """The value (p,) that ``apply_function`` returns at one point (d,)."""
        return jnp.atleast_1d(self.apply_function(params, x))


def as_network(network) -> Network:
    """A Network from a Network, a callable module or a pair (init, apply).

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(network, Network):
        return network
    if isinstance(network, tuple) and len(network) == 2 and all(map(callable, network)):
        return Pair(*network)
    if callable(network) and eqx.filter(network, eqx.is_inexact_array) is not None:
        return Module(network)
    raise ValueError(
        f"network={network!r} must be a kbo.networks.Network such as MLP, a module callable on "
        "one point, or a pair (init, apply) of functions"
    )


def initial_weights(network, key, x, p, replicates):
    """Weights with a leading axis of F replicates, each drawn with its own key.

    Raises
    ------
    ValueError
        If the network's output is not p numbers.
    """
    keys = jax.random.split(key, replicates)
    params = jax.vmap(lambda own: network.init(own, x, p), axis_size=replicates)(keys)
    found = jax.eval_shape(network.apply, jax.tree.map(lambda leaf: leaf[0], params), x)
    if found.shape != (p,):
        raise ValueError(
            f"the network's output has shape {found.shape}, not ({p},): end it in n_outputs={p} "
            f"outputs (n_features={p}, below a last layer)"
        )
    return params
