"""K = k(X, Z) as an operator in blocks of rows, stored if it fits in memory, else re-evaluated."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ... import linalg
from ...instance import of_instance
from ...spaces.base import replicates_first, replicates_last
from ...stream import Stream

STORED = 4e9  # bytes that a stored matrix may take by default


def points(instance, inner):
    """The kernel, the points X of the rows, the points Z of the columns, and the mesh."""
    space, x = instance.space, (instance.inner if inner else instance.outer).x
    z = instance.inner.x if space.centers is None else space.centers
    return space.kernel, x, z, space.mesh


def in_precision(single, tree):
    """A pytree with its floating-point arrays in float32 if ``single``, else unchanged."""
    floating = lambda leaf: eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)  # noqa: E731
    if not single:
        return tree
    return jax.tree.map(lambda v: v.astype(jnp.float32) if floating(v) else v, tree)


@of_instance(donate=True)
def _fill(instance, inner, single, out):
    kernel, x, z = in_precision(single, points(instance, inner)[:3])
    return linalg.cross_gram_into(kernel, x, z, out)


@of_instance
def _block(instance, inner, start, size, single):
    kernel, x, z = in_precision(single, points(instance, inner)[:3])
    return in_precision(single, kernel.matrix(lax.dynamic_slice_in_dim(x, start, size), z))


@of_instance
def _block_at(instance, x, single):
    kernel, _, z, _ = points(instance, True)
    kernel, x, z = in_precision(single, (kernel, x, z))
    return in_precision(single, kernel.matrix(x, z))


class Rows:
    """K = k(X, Z): X are the inner or outer points, Z the space's centres or the inner points.

    Parameters
    ----------
    instance : Instance
    inner : bool
        Whether X are the inner points, rather than the outer ones.
    shape : pair of int
        (n, M).
    memory : float
        In bytes; a larger K is not stored, and its blocks are evaluated for each use.
    out : jax.Array or None
        A K stored earlier, which is overwritten if its shape and dtype fit.
    single : bool
        Whether K is evaluated, stored and multiplied in float32; sums over rows are in float64.

    Attributes
    ----------
    stored : jax.Array or None
        K, with rows up to ``kbo.linalg.tiled_size(n)``.
    """

    def __init__(self, instance, inner, shape, memory, out=None, single=False):
        self._instance, self._inner, self._single = instance, inner, single
        self.shape, self._memory = shape, memory
        n, M = shape
        self.stored = None
        self._block_rows = min(n, linalg.TILE)
        padded = (linalg.tiled_size(n), M)
        x = (instance.inner if inner else instance.outer).x
        self._stream = x if isinstance(x, Stream) else None
        if self._stream is None and (4 if single else 8) * padded[0] * M <= memory:
            dtype = jnp.float32 if single else jnp.float64
            if out is None or out.shape != padded or out.dtype != dtype:
                out = jnp.zeros(padded, dtype)
            self.stored = _fill(instance, inner, single, out)
            self._matrix = np.asarray(self.stored)

    def in_float32(self, out) -> Rows:
        """The same in float32, stored (in ``out`` if possible) if it then fits in memory."""
        at = self._instance, self._inner
        return Rows(*at, self.shape, self._memory, out, single=True)

    def blocks(self):
        """Pairs of a slice of rows and K of these rows, one block after the other."""
        n, size = self.shape[0], self._block_rows
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            if self.stored is not None:
                yield rows, self._matrix[rows]
                continue
            first = min(start, n - size)  # one shape, and the start as an array: one compilation
            at = np.array(first)
            if self._stream is None:
                block = _block(self._instance, self._inner, at, size, self._single)
            else:
                x = self._stream.read(first, first + size)
                block = _block_at(self._instance, x, self._single)
            yield rows, np.asarray(block)[start - first :]

    def times(self, coefficients) -> np.ndarray:
        """K θ, (n, q)."""
        out = np.empty((self.shape[0], coefficients.shape[1]))
        for rows, K in self.blocks():
            out[rows] = linalg.product(K, coefficients)
        return out

    def transposed_times(self, values) -> np.ndarray:
        """Kᵀ v, (M, q)."""
        out = np.zeros((self.shape[1], values.shape[1]))
        for rows, K in self.blocks():
            out += linalg.product(K.T, values[rows])
        return out

    def normal_times(self, coefficients, curvatures) -> tuple[np.ndarray, np.ndarray]:
        """Kᵀ C K θ, (F, M, p), and Kθ, (F, n, p); each block is evaluated once for both.

        Parameters
        ----------
        coefficients : ndarray (F, M, p)
        curvatures : ndarray (F, n, p, p)
        """
        F, _, p = coefficients.shape
        theta = np.asfortranarray(replicates_last(coefficients))
        image, values = np.zeros(theta.shape), np.empty((F, self.shape[0], p))
        for rows, K in self.blocks():
            values[:, rows] = replicates_first(linalg.product(K, theta), F)
            curved = np.einsum("fiab,fib->fia", curvatures[:, rows], values[:, rows])
            image += linalg.product(K.T, replicates_last(curved))
        return replicates_first(image, F), values

    def grams(self, weights, root=None) -> list[np.ndarray]:
        """The lower triangles of Φᵀ diag(w) Φ for each column of ``weights`` (n, R).

        Φ = K, or K L⁻ᵀ for the factor L of ``root``.
        """
        parts, combinations = _disjoint(weights)
        sums = [np.zeros((self.shape[1],) * 2) for _ in parts]
        for rows, K in self.blocks():
            features = K if root is None else root.root_solve(K.T).T
            for part, total in zip(parts, sums, strict=True):
                _accumulate(total, features, part[rows])
        if combinations is None:
            return sums
        return [
            sum(c * total for c, total in zip(column, sums, strict=True) if c)
            for column in combinations.T
        ]


def _disjoint(weights):
    """Vectors v_g with disjoint supports, and coefficients, with weights[:, r] = Σ_g c_gr v_g.

    The training weights of R folds have such a form with R vectors. Summing over each row once is
    then enough, instead of R − 1 times. If more than R vectors are needed, returns the columns of
    ``weights`` and None.
    """
    R = weights.shape[1]
    scale = weights.max(1)
    relative = weights[scale > 0] / scale[scale > 0, None]
    signature = relative @ np.sqrt(np.arange(2.0, 2 + R))
    if R == 1 or len(np.unique(signature[:1000])) > R:
        return list(weights.T), None
    _, first, group = np.unique(signature, return_index=True, return_inverse=True)
    if len(first) > R:
        return list(weights.T), None
    parts = np.zeros((len(first), len(weights)))
    parts[group, np.flatnonzero(scale > 0)] = scale[scale > 0]
    return list(parts), relative[first]


def _accumulate(total, features, weights):
    """Add Σ_i w_i Φ_iᵀΦ_i to the lower triangle of ``total``, in place."""
    chosen = np.flatnonzero(weights)
    if not len(chosen):
        return
    first, last = chosen[0], chosen[-1] + 1
    rows = slice(first, last) if last - first == len(chosen) else chosen
    features, weights = features[rows], weights[rows]
    uniform = (weights == weights[0]).all()
    factor = weights[0] if uniform else 1.0
    if not uniform:
        features = features * np.sqrt(weights)[:, None]
    linalg.add_normal(total, features, factor)
