"""Kernels of a distance: k(x, z) = φ(‖e(x) − e(z)‖²), by default with e(x) = x/lengthscale.

The lengthscale is a scalar, or has one entry per feature (ARD). Matérn 3/2 and 5/2 have the slope
φ′ of their profile in closed form: it is finite at s = 0, where the derivative of √s is not.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .base import Kernel, each_once


def _with_slope(profile, slope):
    """φ(s) with the derivative ``slope(s)``, so that it is finite at coincident points."""
    wrapped = jax.custom_jvp(profile)
    wrapped.defjvps(lambda s_dot, value, s: slope(s) * s_dot)
    return wrapped


def _positive_sqrt(s):
    """√s with derivative 0 (not ∞) at s = 0.

    The profiles themselves use it: ``_with_slope`` has no effect on second derivatives through
    ``jax.checkpoint``.
    """
    positive = s > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, s, 1.0)), 0.0)


_matern32 = _with_slope(
    lambda s: (1 + _positive_sqrt(3 * s)) * jnp.exp(-_positive_sqrt(3 * s)),
    lambda s: -1.5 * jnp.exp(-_positive_sqrt(3 * s)),
)
_matern52 = _with_slope(
    lambda s: (1 + _positive_sqrt(5 * s) + 5 * s / 3) * jnp.exp(-_positive_sqrt(5 * s)),
    lambda s: -5 / 6 * (1 + _positive_sqrt(5 * s)) * jnp.exp(-_positive_sqrt(5 * s)),
)


@jax.custom_jvp
def _gaussian_from(values, s):
    """exp(−s/2), given as ``values``; its derivative in s is −½·``values``."""
    return values


@_gaussian_from.defjvp
def _gaussian_from_jvp(primals, tangents):
    return primals[0], -0.5 * primals[0] * tangents[1]


class Stationary(Kernel):
    """k(x, z) = φ(s), s = ‖e(x) − e(z)‖². Subclasses define ``profile`` (and may define ``embed``).

    The matrix of all s comes from one matrix product, of centred points to limit cancellation.
    Where φ is not differentiable at 0 (``rough``), the differences are formed directly instead.
    """

    rough: ClassVar[bool] = False

    @abc.abstractmethod
    def profile(self, s: jax.Array) -> jax.Array:
        """φ(s), elementwise, for squared scaled distances ``s`` ≥ 0."""

    def embed(self, x: jax.Array) -> jax.Array:
        """e(x): points ``x`` (…, d) in the coordinates in which distances are measured."""
        return x / self.lengthscale

    def products(self, x: jax.Array, z: jax.Array) -> jax.Array:
        """e(x_i)·e(z_j), (n, m), for points ``x`` (n, d) and ``z`` (m, d)."""
        if type(self).embed is not Stationary.embed:
            return self.embed(x) @ self.embed(z).T
        return (x / self.lengthscale**2) @ z.T  # saves one product in the reverse pass

    def evaluate(self, x, z):
        # k depends only on x − z: subtracting first avoids cancellation for points far from 0.
        return self.profile(jnp.sum((self.embed(x - z) - self.embed(jnp.zeros_like(z))) ** 2))

    def matrix(self, x, z):
        if self.rough:
            return super().matrix(x, z)
        return self.profile(jnp.maximum(self.squared_distances(x, z), 0.0))

    def squared_distances(self, x: jax.Array, z: jax.Array) -> jax.Array:
        """‖e(x_i) − e(z_j)‖², (n, m), of ``x`` and ``z``; rounding may make it negative."""
        centre = jax.lax.stop_gradient(jnp.mean(z, axis=0))
        x, z = each_once(lambda points: points - centre, x, z)
        ex, ez = each_once(self.embed, x, z)
        return jnp.sum(ex**2, 1)[:, None] + jnp.sum(ez**2, 1) - 2 * self.products(x, z)


class Gaussian(Stationary):
    """k(x, z) = exp(−‖x − z‖² / (2 lengthscale²)); scikit-learn's gamma is 1/(2 lengthscale²).

    Parameters
    ----------
    lengthscale : float or array (d,)
        In the units of the points; positive. An array has one for each feature.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> kernel = kbo.kernels.Gaussian(lengthscale=2.0)
    >>> print(f"{kernel.evaluate(jnp.array([0.0]), jnp.array([1.0])):.3f}")
    0.882
    """

    lengthscale: jax.Array | float = 1.0

    def profile(self, s):
        return jnp.exp(-0.5 * s)

    def matrix_from(self, values, x, z):
        return _gaussian_from(values, self.squared_distances(x, z))


class Matern12(Stationary):
    """k(x, z) = exp(−r), r = ‖x − z‖/lengthscale: the Matérn kernel with smoothness ½.

    Parameters
    ----------
    lengthscale : float or array (d,)
        In the units of the points; positive. An array has one for each feature.
    """

    rough = True
    lengthscale: jax.Array | float = 1.0

    def profile(self, s):
        return jnp.exp(-_positive_sqrt(s))


class Matern32(Stationary):
    """k(x, z) = (1 + √3 r) exp(−√3 r), r = ‖x − z‖/lengthscale: Matérn, smoothness 3/2.

    Parameters
    ----------
    lengthscale : float or array (d,)
        In the units of the points; positive. An array has one for each feature.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eq. (4.17).
    """

    lengthscale: jax.Array | float = 1.0

    def profile(self, s):
        return _matern32(s)


class Matern52(Stationary):
    """k(x, z) = (1 + √5 r + 5r²/3) exp(−√5 r), r = ‖x − z‖/lengthscale: Matérn, smoothness 5/2.

    Parameters
    ----------
    lengthscale : float or array (d,)
        In the units of the points; positive. An array has one for each feature.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eq. (4.17).
    """

    lengthscale: jax.Array | float = 1.0

    def profile(self, s):
        return _matern52(s)


class RationalQuadratic(Stationary):
    """k(x, z) = (1 + r²/(2a))^(−a), r = ‖x − z‖/lengthscale.

    Parameters
    ----------
    lengthscale : float or array (d,)
        In the units of the points; positive. An array has one for each feature.
    exponent : float
        a > 0, the exponent of the mixture of Gaussian kernels that this is.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eq. (4.19).
    """

    lengthscale: jax.Array | float = 1.0
    exponent: jax.Array | float = 1.0

    def profile(self, s):
        return jnp.exp(-self.exponent * jnp.log1p(0.5 * s / self.exponent))


class Periodic(Stationary):
    """k(x, z) = exp(−2 Σ_k sin²(π(x_k − z_k)/period_k)/lengthscale_k²).

    It is the Gaussian kernel of points whose features are wrapped on circles of radius
    1/lengthscale.

    Parameters
    ----------
    lengthscale : float or array (d,)
        Without a unit; positive.
    period : float or array (d,)
        In the units of the points; positive.

    References
    ----------
    MacKay (1998), Introduction to Gaussian Processes, Section 5.2.
    """

    lengthscale: jax.Array | float = 1.0
    period: jax.Array | float = 1.0

    def embed(self, x):
        angle = 2 * jnp.pi * x / self.period
        return jnp.concatenate(
            [jnp.cos(angle) / self.lengthscale, jnp.sin(angle) / self.lengthscale], axis=-1
        )

    def profile(self, s):
        return jnp.exp(-0.5 * s)


class Laplacian(Kernel):
    """``k(x, z) = exp(−Σ_k |x_k − z_k|/lengthscale_k)``; scikit-learn's gamma is 1/lengthscale.

    Matern12 is the exponential of the Euclidean distance.

    Parameters
    ----------
    lengthscale : float or array (d,)
        In the units of the points; positive. An array has one for each feature.
    numbers : int, optional
        How many features, from the first, have this distance; others have (x_k − z_k)² in its
        place. Of values 0 and 1, as those of levels of categories, both are the same, and for
        squares one matrix product serves all features. None: all features.
    """

    lengthscale: jax.Array | float = 1.0
    numbers: int | None = eqx.field(static=True, default=None)

    def evaluate(self, x, z):
        apart = jnp.abs(x - z)
        if self.numbers is not None:
            apart = apart.at[self.numbers :].power(2)
        return jnp.exp(-jnp.sum(apart / self.lengthscale))

    def matrix(self, x, z):
        weight = jnp.broadcast_to(1 / jnp.asarray(self.lengthscale, x.dtype), x.shape[1:])
        count = self.numbers
        distances = _weighted_distances(weight[:count], x[:, :count], z[:, :count])
        if count is not None and count < x.shape[1]:
            distances += _weighted_squares(weight[count:], x[:, count:], z[:, count:])
        return jnp.exp(-distances)


def _weighted_distances(weight, x, z):
    """Σ_k w_k |x_ik − z_jk|, (n, m): a feature at a time, in the memory of one matrix."""

    def add(total, feature):
        w, a, b = feature
        return total + w * jnp.abs(a[:, None] - b), None

    total = jnp.zeros((len(x), len(z)), x.dtype)
    # Without checkpoint the reverse pass would keep a matrix for each feature.
    return jax.lax.scan(jax.checkpoint(add), total, (weight, x.T, z.T))[0]


def _weighted_squares(weight, x, z):
    """Σ_k w_k (x_ik − z_jk)², (n, m), by one matrix product."""
    return (x**2 @ weight)[:, None] + z**2 @ weight - 2 * (x * weight) @ z.T
