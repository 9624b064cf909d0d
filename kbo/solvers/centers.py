"""Rules for the choice of centres, the points that span a Nyström subspace."""

from __future__ import annotations

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import linalg
from ..arithmetic import is_traced, resolve
from ..linalg import cross, diagonal_of, rp_cholesky
from ..module import Module
from ..programs import program
from ..spaces import Subspace
from ..stream import Stream

STREAM_POOL = 100_000


class Centers(Module):
    """A rule that chooses M of the inner and outer points, once, at the first ω.

    Attributes
    ----------
    n_centers : int or None
        M; None means 10√N of N points. M of this order is enough for kernel ridge regression to
        keep its statistical rate (Rudi, Carratino, Rosasco 2017, Theorem 3).
    seed : int
    """

    n_centers: eqx.AbstractVar[int | None]
    seed: eqx.AbstractVar[int]

    def __check_init__(self):
        M = self.n_centers
        if M is not None and (not isinstance(M, int | np.integer) or M < 1):
            raise ValueError(f"n_centers={M!r} must be a positive integer or None")

    def count(self, n) -> int:
        """M for ``n`` points."""
        if self.n_centers is None:
            return min(n, math.ceil(10 * math.sqrt(n)))
        return int(self.n_centers)

    def select(self, kernel, x, ridge) -> np.ndarray:
        """Indices (M,) of the chosen rows of x (N, d), all distinct.

        Parameters
        ----------
        kernel : kbo.kernels.Kernel
        x : array (N, d)
        ridge : float
            The ridge of the inner problem.

        Raises
        ------
        ValueError
            If there are fewer than M points.
        """
        count = self.count(len(x))
        if count > len(x):
            raise ValueError(
                f"n_centers={count} but there are only {len(x)} points: ask for fewer "
                "centres, or use solver=Exact()"
            )
        return self._select(kernel, x, ridge, count, np.random.default_rng(self.seed))

    @abc.abstractmethod
    def _select(self, kernel, x, ridge, count, rng) -> np.ndarray: ...


class Uniform(Centers):
    """M points drawn uniformly without replacement.

    Parameters
    ----------
    n_centers, seed
        As in Centers.
    """

    n_centers: int | None = None
    seed: int = 0

    def _select(self, kernel, x, ridge, count, rng):
        return rng.choice(len(x), count, replace=False)


class KMeansPlusPlus(Centers):
    """k-means++ seeding in the RKHS: p(x) ∝ min_j ‖k(x, ·) − k(z_j, ·)‖²_H for each next centre.

    The z_j are the centres drawn before. It takes O(NM) kernel evaluations.

    Parameters
    ----------
    n_centers, seed
        As in Centers.

    References
    ----------
    Arthur, Vassilvitskii (2007), k-means++: The Advantages of Careful Seeding, §2.2.
    """

    n_centers: int | None = None
    seed: int = 0

    def _select(self, kernel, x, ridge, count, rng):
        chosen = _kmeans_plus_plus(kernel, x, rng.uniform(size=count))
        return _distinct(np.array(chosen), len(x), rng)


@program
def _kmeans_plus_plus(kernel, x, uniforms):
    diagonal = jax.vmap(kernel.evaluate)(x, x)

    def draw(distances, u):
        mass = jnp.cumsum(distances)
        z = jnp.searchsorted(mass, u * mass[-1], side="right")
        z = jnp.minimum(z, len(x) - 1)
        column = kernel.matrix(x, x[z][None])[:, 0]
        new = jnp.maximum(diagonal + diagonal[z] - 2 * column, 0.0).at[z].set(0.0)
        return jnp.minimum(distances, new), z

    return lax.scan(draw, jnp.ones_like(diagonal), uniforms)[1]


class Leverage(Centers):
    """M points drawn, without replacement, ∝ approximate ridge leverage scores::

        ℓ_i = min(1, (k(x_i, x_i) − k_iᵀ(K_JJ + ridge·|J| I)⁻¹ k_i) / (ridge·N))

    for a uniform pilot sample J of ``oversampling``·M points.

    Parameters
    ----------
    n_centers, seed
        As in Centers.
    oversampling : float
        Positive.

    References
    ----------
    Rudi, Calandriello, Carratino, Rosasco (2018), On Fast Leverage Score Sampling and Optimal
    Learning, eq. (5).
    """

    n_centers: int | None = None
    seed: int = 0
    oversampling: float = 1.0

    def _select(self, kernel, x, ridge, count, rng):
        size = min(len(x), max(1, round(self.oversampling * count)))
        pilot = x[np.sort(rng.choice(len(x), size, replace=False))]
        gram = np.array(cross(kernel, pilot, pilot), float)
        build = lambda: gram + size * ridge * np.eye(size)  # noqa: E731
        factor = linalg.Cholesky(build)
        scores = []
        for start in range(0, len(x), linalg.TILE):
            block = x[start : start + linalg.TILE]
            half = factor.root_solve(np.asarray(cross(kernel, pilot, block), float))
            scores.append(np.array(diagonal_of(kernel, block)) - np.sum(half**2, 0))
        scores = np.clip(np.concatenate(scores) / (ridge * len(x)), 0.0, 1.0)
        # An exponential race: the M first arrivals are a draw without replacement ∝ scores.
        arrivals = rng.exponential(size=len(x)) / np.maximum(scores, 1e-15 * scores.max(initial=1))
        return np.argsort(arrivals)[:count]


class RPCholesky(Centers):
    """The pivots of a randomly pivoted Cholesky factorisation of the Gram matrix.

    Each is drawn ∝ the squared distance of k(x, ·) to the span of those before it. It takes O(NM²)
    time and O(NM) memory.

    Parameters
    ----------
    n_centers, seed
        As in Centers.

    References
    ----------
    Chen, Epperly, Tropp, Webber (2025), Randomly pivoted Cholesky, Algorithm 1.
    """

    n_centers: int | None = None
    seed: int = 0

    def _select(self, kernel, x, ridge, count, rng):
        pivots, _ = rp_cholesky(kernel, x, count, rng)
        return _distinct(pivots, len(x), rng, count)


def _distinct(chosen, n, rng, count=None):
    """The chosen indices without repetitions, filled up by others that are drawn uniformly."""
    count = len(chosen) if count is None else count
    _, first = np.unique(chosen, return_index=True)
    kept = chosen[np.sort(first)]
    others = np.setdiff1d(np.arange(n), kept)
    return np.concatenate([kept, rng.choice(others, count - len(kept), replace=False)])


def fixed_centers(instance, centers):
    """The centres, (M, d) or a callable of ω; None if the problem's space has its own.

    Parameters
    ----------
    instance : Instance
        Centres are chosen among its points.
    centers : int, Centers, array (M, d), callable of ω or None
        An int draws so many uniformly.

    Raises
    ------
    ValueError
        If the centres do not fit the points or the space, or are not finite.
    """
    if isinstance(instance.space, Subspace):
        if centers is None:
            return None
        raise ValueError("the problem's space is a Subspace with its own centres: use centers=None")
    if centers is None:
        raise ValueError("centers=None: give their number, an array of centres, or a Centers rule")
    if isinstance(centers, int | np.integer):
        centers = Uniform(int(centers))
    if isinstance(centers, Centers):
        x = _pool(instance)
        chosen = centers.select(instance.space.kernel, x, float(instance.ridge.mean()))
        return x[np.sort(chosen)]
    points = jnp.asarray(resolve(centers, instance.omega), instance.dtype)
    d = instance.inner.x.shape[1]
    if points.ndim != 2 or points.shape[1] != d or len(points) == 0:
        raise ValueError(f"centers has shape {points.shape}; it must be (M, {d}), M ≥ 1")
    if callable(centers):
        return centers
    if not (is_traced(centers) or np.isfinite(np.asarray(centers)).all()):
        raise ValueError("centers contains NaN or infinity")
    return points


def _pool(instance):
    """Inner and outer points with a weight; once only if both samples have the same points."""
    inner, outer = instance.inner, instance.outer
    in_use, out_use = (np.asarray(s.weight_matrix()).any(0) for s in (inner, outer))
    if instance.shared:
        return _rows(inner.x, in_use | out_use)
    return jnp.concatenate([_rows(inner.x, in_use), _rows(outer.x, out_use)])


def _rows(x, used):
    """The points in use; of a Stream, at most STREAM_POOL of them, drawn uniformly."""
    if not isinstance(x, Stream):
        return x[used]
    indices = np.flatnonzero(used)
    if len(indices) > STREAM_POOL:
        indices = np.sort(np.random.default_rng(0).choice(indices, STREAM_POOL, replace=False))
    return jnp.asarray(x.take(indices))
