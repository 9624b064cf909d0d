"""Cholesky factorisations that report the jitter they needed."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg.blas import dtrmm, dtrmv, dtrsm, dtrsv
from scipy.linalg.lapack import dlauum, dpocon, dpotrf, dpotri, dpotrs

from .threads import blas_threads

JITTERS = (0.0, 1e-15, 1e-13, 1e-11, 1e-9)  # multiples of the mean diagonal


class SingularSystem(ArithmeticError):
    """A symmetric system that is not positive definite even with the largest jitter."""


class Cholesky:
    """LAPACK factor of a symmetric positive definite matrix, computed in place.

    Parameters
    ----------
    build : callable
        Returns the matrix, C-ordered float64, whose lower triangle is read and overwritten. It is
        called again for each larger jitter.
    jitters : tuple of float
        Jitters to try, added to the diagonal in units of its mean.

    Attributes
    ----------
    jitter : float
        The number added to the diagonal to make the factorisation succeed.

    Raises
    ------
    SingularSystem
        If the largest jitter is not enough.
    """

    def __init__(self, build, jitters=JITTERS):
        for level in jitters:
            matrix = build()
            diagonal = matrix.diagonal()
            scale = float(diagonal.mean())
            if not math.isfinite(scale):
                raise SingularSystem("the system has non-finite entries")
            self.jitter = level * scale
            matrix.flat[:: len(matrix) + 1] += self.jitter
            with blas_threads.watched(len(matrix)):
                self._factor, info = dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
            if info == 0 and np.isfinite(self._factor.diagonal()).all():
                return
        raise SingularSystem(f"not positive definite with a jitter of {self.jitter:.1e}")

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """matrix⁻¹ rhs for a right-hand side (n,) or (n, q)."""
        if rhs.ndim == 1 or rhs.shape[1] == 1:  # dtrsv takes half the time of dpotrs
            half = dtrsv(self._factor, rhs.ravel(), lower=0, trans=1)
            return dtrsv(self._factor, half, lower=0).reshape(rhs.shape)
        solution, info = dpotrs(self._factor, rhs, lower=0)
        if info != 0:
            raise SingularSystem(f"triangular solve failed with LAPACK code {info}")
        return solution

    def log_determinant(self) -> float:
        """log det of the matrix."""
        return 2.0 * float(np.sum(np.log(self._factor.diagonal())))

    def smallest_eigenvalue(self, norm) -> float:
        """An estimate from below, from the matrix's 1-norm and LAPACK's condition number."""
        reciprocal, _ = dpocon(self._factor, norm, uplo="U")
        return float(reciprocal) * norm

    def lower(self) -> np.ndarray:
        """L, with zeros above its diagonal."""
        return np.triu(self._factor).T

    def root_times(self, rhs, transposed=False) -> np.ndarray:
        """L rhs, or Lᵀ rhs, for rhs (n, q), where matrix = L Lᵀ."""
        # The factor is U = Lᵀ in its upper triangle.
        if rhs.shape[1] == 1:
            return dtrmv(self._factor, rhs[:, 0], lower=0, trans=not transposed)[:, None]
        return dtrmm(1.0, self._factor, rhs, lower=0, trans_a=not transposed)

    def root_solve(self, rhs, transposed=False) -> np.ndarray:
        """L⁻¹ rhs, or L⁻ᵀ rhs, for rhs (n, q)."""
        if rhs.shape[1] == 1:
            return dtrsv(self._factor, rhs[:, 0], lower=0, trans=not transposed)[:, None]
        return dtrsm(1.0, self._factor, rhs, lower=0, trans_a=not transposed)

    def root_square(self) -> np.ndarray:
        """The lower triangle of LᵀL, C-ordered."""
        square, _ = dlauum(self._factor, lower=0)
        return square.T

    def inverse(self, out: np.ndarray) -> np.ndarray:
        """Write the lower triangle of matrix⁻¹ into ``out``, C-ordered and of the same size."""
        out[:] = self._factor.T
        _, info = dpotri(out.T, lower=0, overwrite_c=1)
        if info != 0:
            raise SingularSystem(f"inversion failed with LAPACK code {info}")
        return out
