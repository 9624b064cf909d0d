"""The kernel interface, one method on a pair of points, and sums, products and scalings."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ..module import Module


class Kernel(Module):
    """A positive semi-definite function k(x, z). Subclasses define ``evaluate``.

    Kernels add, multiply, and scale by a non-negative number: ``2.0 * Gaussian() + Linear()``.

    Attributes
    ----------
    fixed : tuple of str
        The numbers among its fields that the estimators never tune.
    """

    fixed: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def evaluate(self, x: jax.Array, z: jax.Array) -> jax.Array:
        """k(x, z) for two points ``x`` and ``z`` of shape (d,); a scalar."""

    def matrix(self, x: jax.Array, z: jax.Array) -> jax.Array:
        """The matrix k(x_i, z_j), (n, m), for points x (n, d) and z (m, d)."""
        return jax.vmap(lambda xi: jax.vmap(lambda zj: self.evaluate(xi, zj))(z))(x)

    def matrix_from(self, values: jax.Array, x: jax.Array, z: jax.Array) -> jax.Array:
        """``matrix(x, z)`` where its ``values`` are known and only its derivatives are needed."""
        return self.matrix(x, z)

    def __add__(self, other):
        return Sum(self, as_kernel(other))

    def __mul__(self, other):
        if isinstance(other, Kernel) or callable(other):
            return Product(self, as_kernel(other))
        return Scaled(self, other)

    def __rmul__(self, scale):
        return Scaled(self, scale)


class Sum(Kernel):
    """k(x, z) = k₁(x, z) + k₂(x, z).

    Parameters
    ----------
    left, right : Kernel
        k₁ and k₂.
    """

    left: Kernel
    right: Kernel

    def evaluate(self, x, z):
        return self.left.evaluate(x, z) + self.right.evaluate(x, z)

    def matrix(self, x, z):
        return self.left.matrix(x, z) + self.right.matrix(x, z)


class Product(Kernel):
    """k(x, z) = k₁(x, z) · k₂(x, z).

    Parameters
    ----------
    left, right : Kernel
        k₁ and k₂.
    """

    left: Kernel
    right: Kernel

    def evaluate(self, x, z):
        return self.left.evaluate(x, z) * self.right.evaluate(x, z)

    def matrix(self, x, z):
        return self.left.matrix(x, z) * self.right.matrix(x, z)


class Scaled(Kernel):
    """k(x, z) = c · k₀(x, z), c ≥ 0.

    Parameters
    ----------
    kernel : Kernel
        k₀.
    scale : float
        c.
    """

    kernel: Kernel
    scale: jax.Array | float

    def evaluate(self, x, z):
        return self.scale * self.kernel.evaluate(x, z)

    def matrix(self, x, z):
        return self.scale * self.kernel.matrix(x, z)


class OnFeatures(Kernel):
    """k(x, z) = k₀(x_S, z_S), where S are the indices of features in ``columns``.

    A sum of such kernels gives an additive model h = Σ_S h_S(x_S); scaling a kernel of the sum sets
    the ridge of its part.

    Parameters
    ----------
    kernel : Kernel
        k₀, of points with as many features as S.
    columns : tuple of int
        S.
    """

    kernel: Kernel
    columns: tuple[int, ...] = eqx.field(static=True, converter=lambda c: tuple(map(int, c)))

    def evaluate(self, x, z):
        return self.kernel.evaluate(x[jnp.array(self.columns)], z[jnp.array(self.columns)])

    def matrix(self, x, z):
        chosen = jnp.array(self.columns)
        return self.kernel.matrix(x[:, chosen], z[:, chosen])


class Composed(Kernel):
    """k(x, z) = k₀(φ(x), φ(z)); with a network for φ, a deep kernel.

    Parameters
    ----------
    kernel : Kernel or callable of two points
    feature_map : callable
        φ, from one point (d,) to (q,); it may depend on ω if the space is a callable of ω.

    References
    ----------
    Wilson, Hu, Salakhutdinov, Xing (2016), Deep Kernel Learning, eq. (5).
    """

    kernel: Kernel
    feature_map: Callable

    def __init__(self, kernel, feature_map):
        self.kernel, self.feature_map = as_kernel(kernel), feature_map

    def evaluate(self, x, z):
        return self.kernel.evaluate(self.feature_map(x), self.feature_map(z))

    def matrix(self, x, z):
        return self.kernel.matrix(*each_once(jax.vmap(self.feature_map), x, z))


class OwnKernel(Kernel):
    """k(x, z) = f(x, z) for a user's JAX function of two points.

    Parameters
    ----------
    function : callable
        Maps two arrays (d,) to a scalar; must be symmetric and positive semi-definite. It may close
        over ω if the space is a callable of ω.
    """

    function: Callable

    def evaluate(self, x, z):
        return jnp.asarray(self.function(x, z))


def each_once(function, x, z):
    """f(x) and f(z), which are one evaluation where x and z are the same array."""
    of_x = function(x)
    return of_x, of_x if z is x else function(z)


def as_kernel(kernel) -> Kernel:
    """Return a Kernel as it is, and wrap any other callable of two points as an OwnKernel.

    Parameters
    ----------
    kernel : Kernel or callable

    Returns
    -------
    Kernel

    Raises
    ------
    ValueError
        If ``kernel`` is neither.
    """
    if isinstance(kernel, Kernel):
        return kernel
    if callable(kernel):
        return OwnKernel(kernel)
    raise ValueError(
        f"kernel={kernel!r} is neither a kbo.kernels.Kernel nor a callable k(x, z) of two points"
    )
