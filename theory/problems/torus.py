"""Regression on the torus in periodic Sobolev spaces."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from kbo import RKHS, NeuralSpace, kernels
from kbo.networks import MLP, Network

from ..checks import count, positive
from ..population import LinearPopulation, TorusWaves

BOX = -np.ones(3), np.ones(3)


class SobolevTorus(kernels.Kernel):
    """k(x, z) = Π_d [1 + 2 Σ_{κ≥1} (1 + (2πκ)²)^{-s} cos 2πκ(x_d − z_d)], to ``terms`` terms.

    Its eigenvalues are those of the periodic Sobolev space W^s(𝕋), multiplied over coordinates.

    Parameters
    ----------
    smoothness : float
        s > ½.
    terms : int
    """

    smoothness: float
    terms: int

    def __check_init__(self):
        count("terms", self.terms, 1)
        if isinstance(self.smoothness, int | float) and not 0.5 < self.smoothness < np.inf:
            raise ValueError(
                f"smoothness={self.smoothness!r} must be finite and above 1/2: below, the kernel's "
                "sum diverges as terms are added"
            )

    def evaluate(self, x, z):
        frequency = 2 * jnp.pi * jnp.arange(1, self.terms + 1)
        weight = (1 + frequency**2) ** (-self.smoothness)
        waves = jnp.cos(frequency * (x - z)[:, None])
        return jnp.prod(1 + 2 * waves @ weight)

    def matrix(self, x, z):
        """The kernel matrix from one matrix product per coordinate.

        It uses cos(a − b) = cos a cos b + sin a sin b.
        """
        out = jnp.ones((len(x), len(z)))
        frequency = 2 * jnp.pi * jnp.arange(1, self.terms + 1)
        weight = (1 + frequency**2) ** (-self.smoothness)
        for a, b in zip(x.T, z.T, strict=True):
            left, right = a[:, None] * frequency, b[:, None] * frequency
            waves = (jnp.cos(left) * weight) @ jnp.cos(right).T
            out = out * (1 + 2 * (waves + (jnp.sin(left) * weight) @ jnp.sin(right).T))
        return out


def sobolev_eigenvalue(smoothness, terms):
    """μ_κ = Π_d (1 + κ_d²)^{-s} up to ``terms``, zero beyond."""

    def eigenvalue(frequencies):
        inside = np.abs(frequencies) <= 2 * np.pi * terms + 1e-9
        factors = np.where(inside, (1 + frequencies**2) ** (-smoothness), 0.0)
        return factors.prod(-1)

    return eigenvalue


def torus_regression(smoothness=1.0, ridge=1e-3, noise=0.3, terms=40):
    """Three features of a treatment on the torus, for any smoothness, in closed form::

        x ~ U[0, 1),  φ_k = cos 2π(kx + u/8) + ε_k, k = 1, 2, 3,  y = Σ_k φ_k/k + ε_4,
        u, ε_k uniform on [−1, 1] (times ``noise`` for ε)

    h lies in W^s(𝕋). All assumptions of Theorem 4.1 hold.

    Parameters
    ----------
    smoothness : float
        s > ½.
    ridge, noise : float
        Positive.
    terms : int
        Number of frequencies of the kernel, at least 3.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    kernel = SobolevTorus(smoothness, terms)
    waves, second, draw = _harmonics(noise, sobolev_eigenvalue(smoothness, terms), terms)
    return LinearPopulation(
        f"torus_regression, s = {smoothness:g}", waves, second, RKHS(kernel), ridge, draw, BOX,
    )


def torus_networks(ridge=0.1, noise=0.3, network=None):
    """torus_regression with networks in L2 for h and a, in closed form.

    With ⟨h, a⟩ = E h(x)a(x) every wave has eigenvalue 1, and h*_ω = E[φ|x]ᵀω/(1 + ridge), provided
    that networks can represent it. No theorem bounds how fast trained networks approach it: the
    problem is marked as outside.

    Parameters
    ----------
    ridge, noise : float
    network : kbo.networks.Network, default MLP((32, 32))
        Applied to (cos 2πx, sin 2πx).
    """
    waves, second, draw = _harmonics(noise, lambda frequencies: np.ones(len(frequencies)))
    network = PeriodicNetwork(MLP((32, 32)) if network is None else network)
    return LinearPopulation(
        "torus_networks", waves, second, NeuralSpace(network), ridge, draw, BOX,
        ("h and a are trained networks, not members of an RKHS",),
    )


class PeriodicNetwork(Network):
    """A network applied to (cos 2πx, sin 2πx), which makes it a function on the torus.

    Parameters
    ----------
    network : kbo.networks.Network
    """

    network: Network

    def init(self, key, x, p):
        return self.network.init(key, self._wrapped(x), p)

    def apply(self, params, x):
        return self.network.apply(params, self._wrapped(x))

    def _wrapped(self, x):
        return jnp.concatenate([jnp.cos(2 * jnp.pi * x), jnp.sin(2 * jnp.pi * x)])


def _harmonics(noise, eigenvalue, terms=None):
    """The waves of φ and y, E y², and a function that draws (x, φ, y)."""
    k, noise = np.arange(1, 4), positive("noise", noise)

    def draw(random, n):
        x = random.uniform(size=(n, 1))
        u, eps = random.uniform(-1, 1, size=(n, 1)), random.uniform(-1, 1, size=(n, 4))
        features = np.cos(2 * np.pi * (k * x + u / 8)) + noise * eps[:, :3]
        return x, features, features @ (1 / k) + noise * eps[:, 3]

    mean = np.sinc(0.25)  # E cos(2π(kx + u/8) | x) = cos(2πkx)·sin(π/4)/(π/4)
    star = 1 / k
    amplitude = np.vstack([np.diag(1j * np.full(3, mean)), 1j * mean * star])
    waves = TorusWaves(amplitude, 2 * np.pi * k[:, None], eigenvalue, terms)
    # The φ_k share u, but E cos(2πkx + c) cos(2πlx + c) = 0 for k ≠ l.
    second = star @ (star * (0.5 + noise**2 / 3)) + noise**2 / 3
    return waves, second, draw
