"""Large products on the host, all through SciPy's BLAS, like the factorisations.

NumPy's BLAS has a second pool of threads, and two pools that take turns waiting for the same cores
cost several times the work itself.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import dgemm, dgemv, dsymm, dsymv, dsyrk, sgemm, sgemv

SYMV_COLUMNS = 10  # up to so many columns are multiplied one by one


def symmetric_product(lower: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """A @ rhs, (n, q), for a symmetric A given by the lower triangle of a larger array.

    Parameters
    ----------
    lower : ndarray (N, N), C-ordered float64, N ≥ n
        Must be finite outside its leading (n, n) corner too, where it is multiplied by zeros.
    rhs : ndarray (n, q)
    """
    padded = np.zeros((len(lower), rhs.shape[1]), order="F")
    padded[: len(rhs)] = rhs
    # The C-ordered lower triangle is the upper one of the Fortran-ordered transpose. One pass over
    # half the matrix per column is faster than a product of all columns, unless there are many.
    if rhs.shape[1] <= SYMV_COLUMNS:
        columns = [dsymv(1.0, lower.T, column, lower=0) for column in padded.T]
        return np.stack(columns, axis=1)[: len(rhs)]
    return dsymm(1.0, lower.T, padded, lower=0)[: len(rhs)]


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b for matrices in any memory order, in the precision of a (float64 or float32)."""
    gemv, gemm = (sgemv, sgemm) if a.dtype == np.float32 else (dgemv, dgemm)
    b = b.astype(a.dtype, copy=False)
    if b.shape[1] == 1:
        matrix, trans = (a.T, 1) if a.flags.c_contiguous else (a, 0)
        return gemv(1.0, matrix, b[:, 0], trans=trans)[:, None]
    transpose_a, transpose_b = a.flags.c_contiguous, b.flags.c_contiguous
    return gemm(
        1.0, a.T if transpose_a else a, b.T if transpose_b else b, trans_a=transpose_a,
        trans_b=transpose_b,
    )


def outer_product(a: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write the lower triangle of a aᵀ into the C-ordered ``out``, for C-ordered a (n, q)."""
    dsyrk(1.0, a.T, trans=1, lower=0, c=out.T, overwrite_c=1)
    return out


def add_normal(total: np.ndarray, rows: np.ndarray, factor=1.0):
    """total += factor·rowsᵀ rows, lower triangle, in place; both C-ordered, rows (r, q)."""
    if len(rows):
        dsyrk(factor, rows.T, trans=0, lower=0, beta=1.0, c=total.T, overwrite_c=1)


def fill_upper(lower: np.ndarray) -> np.ndarray:
    """The symmetric matrix with the given lower triangle, in the same memory."""
    step = 128
    for start in range(0, len(lower), step):
        rows = slice(start, start + step)
        lower[:start, rows] = lower[rows, :start].T
        block = lower[rows, rows]
        block[:] = np.tril(block) + np.tril(block, -1).T
    return lower


class Arena:
    """Large buffers kept between evaluations, as fresh memory costs more than filling it."""

    def __init__(self):
        self._free: list[np.ndarray] = []
        self._taken: list[np.ndarray] = []

    def take(self, side: int) -> np.ndarray:
        """An uninitialised C-ordered (side, side) float64 array, reserved until given back."""
        size = side * side
        best = None
        for place, free in enumerate(self._free):
            if free.size >= size and (best is None or free.size < self._free[best].size):
                best = place
        buffer = np.empty(size) if best is None else self._free.pop(best)
        self._taken.append(buffer)
        return buffer[:size].reshape(side, side)

    def give_back(self, array):
        """Allow an array that ``take`` returned to be handed out again."""
        for k, buffer in enumerate(self._taken):
            if np.shares_memory(buffer, array):
                self._free.append(self._taken.pop(k))
                return

    def reset(self):
        """Allow all buffers to be handed out again; none may be in use any more."""
        self._free += self._taken
        self._taken = []
