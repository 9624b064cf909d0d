"""Kernel products in blocks, and factorisations that report their jitter.

On the host every large product goes through SciPy's BLAS, as the factorisations do: NumPy's own
has a second pool of threads, and two pools that wait in turns for the same cores cost several
times the work itself.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.linalg.blas import dgemm, dsymm, dsymv, dsyrk, dtrsv
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

TILE = 512
SYMV_COLUMNS = 10
JITTERS = (0.0, 1e-15, 1e-13, 1e-11, 1e-9)  # multiples of the mean diagonal


class SingularSystem(ArithmeticError):
    """A symmetric system that is not positive definite even with the largest jitter."""


def _blocks(x, block, mode="edge"):
    """(n, q) as (blocks, block, q), padded with copies of the last row (or with zeros)."""
    count = -(-x.shape[0] // block)
    padded = jnp.pad(x, [(0, count * block - x.shape[0]), (0, 0)], mode=mode)
    return padded.reshape(count, block, x.shape[1])


def _block_size(n: int) -> int:
    """At most TILE, and such that whole blocks cover n points with little to spare."""
    return -(-n // -(-n // TILE))


def tiled_size(n: int) -> int:
    """The side of the buffer that ``gram`` fills for n points."""
    return -(-n // _block_size(n)) * _block_size(n)


def gram(kernel, x, out):
    """The lower triangle of k(x_i, x_j) in the leading (n, n) corner of ``out``.

    What lies above the diagonal blocks is not written. ``out`` has side ``tiled_size(n)``, is
    updated in place where its buffer was donated, and is returned.
    """
    block = _block_size(x.shape[0])
    blocks = _blocks(x, block)
    rows, columns = map(jnp.asarray, np.tril_indices(len(blocks)))

    def write(pair, out):
        i, j = rows[pair], columns[pair]
        tile = kernel.matrix(blocks[i], blocks[j])
        return lax.dynamic_update_slice(out, tile, (i * block, j * block))

    return lax.fori_loop(0, len(rows), write, out)


def cross_gram(kernel, x, z):
    """The matrix k(x_i, z_j), (n, m), by blocks of rows."""
    block = _block_size(x.shape[0])
    tiles = lax.map(lambda rows: kernel.matrix(rows, z), _blocks(x, block))
    return tiles.reshape(-1, z.shape[0])[: x.shape[0]]


def symmetric_matmul(kernel, x, coefficients, known=None):
    """k(x, x) @ coefficients, (n, q): each pair of blocks once, forwards and in reverse.

    Nothing of size n² is kept: the reverse pass evaluates each block again, or reads it from
    ``known``, what ``gram`` wrote.
    """
    n = x.shape[0]
    block = _block_size(n)
    blocks, cs = _blocks(x, block), _blocks(coefficients, block, "constant")
    rows, columns = map(jnp.asarray, np.tril_indices(len(blocks)))

    @jax.checkpoint
    def pair(args):
        i, j, xi, xj, ci, cj, off_diagonal = args
        if known is None:
            tile = kernel.matrix(xi, xj)
        else:
            values = lax.dynamic_slice(known, (i * block, j * block), (block, block))
            tile = kernel.matrix_from(values, xi, xj)
        return tile @ cj, off_diagonal * (tile.T @ ci)

    off = jnp.asarray(rows != columns, coefficients.dtype)
    lower, upper = lax.map(
        pair, (rows, columns, blocks[rows], blocks[columns], cs[rows], cs[columns], off)
    )
    out = jnp.zeros_like(cs).at[rows].add(lower).at[columns].add(upper)
    return out.reshape(-1, cs.shape[-1])[:n]


def matmul(kernel, x, z, coefficients):
    """k(x, z) @ coefficients, (n, q), by blocks of rows; the reverse pass recomputes them."""
    block = _block_size(x.shape[0])
    rows = jax.checkpoint(lambda xi: kernel.matrix(xi, z) @ coefficients)
    out = lax.map(rows, _blocks(x, block))
    return out.reshape(-1, coefficients.shape[-1])[: x.shape[0]]


@jax.custom_jvp
def with_known_value(known, computed):
    """``known``, differentiated as ``computed``: a reverse pass then skips the forward one."""
    return known


@with_known_value.defjvp
def _with_known_value_jvp(primals, tangents):
    return primals[0], tangents[1]


def symmetric_product(lower: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """A @ rhs, (n, q), for a symmetric A given by the lower triangle of a larger array.

    Parameters
    ----------
    lower : ndarray (N, N), C-ordered float64, N ≥ n
        Finite beyond its leading (n, n) corner.
    rhs : ndarray (n, q)
    """
    padded = np.zeros((len(lower), rhs.shape[1]), order="F")
    padded[: len(rhs)] = rhs
    # The C-ordered lower triangle is the upper one of the Fortran-ordered transpose. One pass
    # over half the matrix per column beats a general product until there are many columns.
    if rhs.shape[1] <= SYMV_COLUMNS:
        columns = [dsymv(1.0, lower.T, column, lower=0) for column in padded.T]
        return np.stack(columns, axis=1)[: len(rhs)]
    return dsymm(1.0, lower.T, padded, lower=0)[: len(rhs)]


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b for float64 matrices in any memory order."""
    transpose_a, transpose_b = a.flags.c_contiguous, b.flags.c_contiguous
    return dgemm(
        1.0, a.T if transpose_a else a, b.T if transpose_b else b, trans_a=transpose_a,
        trans_b=transpose_b,
    )


def outer_product(a: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The lower triangle of a aᵀ into the C-ordered ``out``, for C-ordered a (n, q)."""
    dsyrk(1.0, a.T, trans=1, lower=0, c=out.T, overwrite_c=1)
    return out


class Cholesky:
    """LAPACK factor of a symmetric positive definite matrix, computed in place.

    Parameters
    ----------
    build : callable
        Returns the matrix, C-ordered float64, of which the lower triangle is read and
        overwritten; called again for each larger jitter.

    Attributes
    ----------
    jitter : float
        What was added to the diagonal to make the factorisation succeed.

    Raises
    ------
    SingularSystem
        If the largest jitter (1e-9 of the mean diagonal) is not enough.
    """

    def __init__(self, build):
        for level in JITTERS:
            matrix = build()
            diagonal = matrix.diagonal()
            scale = float(diagonal.mean())
            if not math.isfinite(scale):
                raise SingularSystem("the system has non-finite entries")
            self.jitter = level * scale
            matrix.flat[:: len(matrix) + 1] += self.jitter
            self._factor, info = dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
            if info == 0 and np.isfinite(self._factor.diagonal()).all():
                return
        raise SingularSystem(f"not positive definite with a jitter of {self.jitter:.1e}")

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """matrix⁻¹ rhs for an (n,) or (n, q) right-hand side."""
        if rhs.ndim == 1 or rhs.shape[1] == 1:  # dtrsv takes half of dpotrs's time
            half = dtrsv(self._factor, rhs.ravel(), lower=0, trans=1)
            return dtrsv(self._factor, half, lower=0).reshape(rhs.shape)
        solution, info = dpotrs(self._factor, rhs, lower=0)
        if info != 0:
            raise SingularSystem(f"triangular solve failed with LAPACK code {info}")
        return solution

    def inverse(self, out: np.ndarray) -> np.ndarray:
        """The lower triangle of matrix⁻¹ into ``out``, C-ordered and as large."""
        out[:] = self._factor.T
        _, info = dpotri(out.T, lower=0, overwrite_c=1)
        if info != 0:
            raise SingularSystem(f"inversion failed with LAPACK code {info}")
        return out


class Arena:
    """Large buffers that outlive one evaluation: fresh memory costs more than filling it."""

    def __init__(self):
        self._free: list[np.ndarray] = []
        self._taken: list[np.ndarray] = []

    def take(self, side: int) -> np.ndarray:
        """An uninitialised C-ordered (side, side) float64 array, nobody else's until given back."""
        size = side * side
        fitting = [b for b in self._free if b.size >= size]
        if fitting:
            buffer = min(fitting, key=lambda b: b.size)
            self._free = [b for b in self._free if b is not buffer]
        else:
            buffer = np.empty(size)
        self._taken.append(buffer)
        return buffer[:size].reshape(side, side)

    def give_back(self, array):
        """``array``, from ``take``, may be handed out again."""
        for k, buffer in enumerate(self._taken):
            if np.shares_memory(buffer, array):
                self._free.append(self._taken.pop(k))
                return

    def reset(self):
        """Everything may be handed out again: whoever held a buffer must be done."""
        self._free += self._taken
        self._taken = []
