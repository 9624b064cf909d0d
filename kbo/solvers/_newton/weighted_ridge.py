"""Kernel ridge systems αI + CK weighted by curvatures, for Newton steps and adjoints alike.

The curvatures C_i = w_i ∂²ℓ_i are p×p blocks. If they are multiples of the identity, one
factorisation serves all outputs; if they are diagonal, the outputs decouple. The module ``coupled``
has the other cases.
"""

from __future__ import annotations

import abc
import itertools
from functools import partial

import numpy as np

from ...linalg import Cholesky, symmetric_product
from .systems import Factor

SMALL_CURVATURE = 1e-6  # relative to the largest; dividing by smaller ones would lose digits


def decouple(curvatures):
    """(n, p, p) as (n,) if multiples of the identity, (n, p) if diagonal, else unchanged."""
    p = curvatures.shape[-1]
    diagonal = np.diagonal(curvatures, axis1=1, axis2=2)
    if p > 1 and np.count_nonzero(curvatures) > np.count_nonzero(diagonal):
        return curvatures
    return diagonal[:, 0].copy() if (diagonal == diagonal[:, :1]).all() else diagonal.copy()


def convex_part(curvatures):
    """Curvatures with negative eigenvalues set to zero, so that Newton's step is one of descent."""
    diagonal = np.diagonal(curvatures, axis1=-2, axis2=-1)
    if np.count_nonzero(curvatures) == np.count_nonzero(diagonal):
        return np.maximum(curvatures, 0.0) if (diagonal < 0).any() else curvatures
    values, vectors = np.linalg.eigh(curvatures)
    if (values >= 0).all():
        return curvatures
    return np.einsum("...ac,...c,...bc->...ab", vectors, np.maximum(values, 0.0), vectors)


class Root:
    """S with S² = C, and the pseudo-inverse S⁺ of its well-determined part.

    Parameters
    ----------
    curvatures : ndarray (n,), (n, p) or (n, p, p)
        As ``decouple`` returns them.
    small : float
        Curvature, relative to the largest, below which S is not well determined.

    Attributes
    ----------
    root : ndarray (n,), (n, p) or (n, p, p)
        S.
    times, divide : callable
        S r and S⁺ r of (n, p) arrays r.
    """

    def __init__(self, curvatures, small=SMALL_CURVATURE):
        self.coupled = curvatures.ndim == 3
        if self.coupled:
            values, vectors = np.linalg.eigh(curvatures)
        else:
            values, vectors = curvatures, None
        roots = np.sqrt(np.maximum(values, 0.0))
        kept = roots > np.sqrt(small) * roots.max(initial=0.0)
        inverses = np.divide(1.0, roots, out=np.zeros_like(roots), where=kept)
        self.full_rank = bool(kept.all())
        if self.coupled:
            self.root, pinv = (
                np.einsum("iac,ic,ibc->iab", vectors, spectrum, vectors)
                for spectrum in (roots, inverses)
            )
            self.times, self.divide = (
                partial(np.einsum, "iab,ib->ia", factor) for factor in (self.root, pinv)
            )
        else:
            self.root = roots
            shape = (len(roots), -1)
            self.times = partial(np.multiply, roots.reshape(shape))
            self.divide = partial(np.multiply, inverses.reshape(shape))
        self.uniform = curvatures.ndim == 1 and bool((curvatures == curvatures[0]).all())


class WeightedRidge(Factor):
    """(αI + CK)⁻¹ with C = blockdiag(C_i), on the points with positive weight.

    Parameters
    ----------
    kernel : SubGram
        K on these points.
    """

    jitter = 0.0

    def __init__(self, kernel):
        self.kernel = kernel
        self._buffers = []

    def _buffer(self, p=1):
        """Memory for a matrix with p unknowns per point, until ``release``."""
        self._buffers.append(self.kernel.arena.take(p * len(self.kernel.support)))
        return self._buffers[-1]

    def release(self):
        for buffer in self._buffers:
            self.kernel.arena.give_back(buffer)

    def solve(self, rhs, enough=0.0):
        """β (N, p), which is zero at points without weight."""
        out = np.zeros_like(rhs)
        support = self.kernel.support
        out[support] = self.on_support(rhs[support])
        return out

    @abc.abstractmethod
    def on_support(self, rhs: np.ndarray) -> np.ndarray:
        """β with (αI + CK)β = rhs, both (n, p)."""


class SubGram:
    """K on the points with positive weight, a principal submatrix of the whole Gram matrix.

    Parameters
    ----------
    gram : ndarray (N, N)
        Only its lower triangle is read.
    support : ndarray of int
        Increasing indices. Contiguous runs are copied as slices, so that folds are cheap to leave
        out if samples are ordered by fold.
    arena : kbo.linalg.Arena
    """

    def __init__(self, gram, support, arena):
        self._gram, self.support, self.arena = gram, support, arena

    def copy_to(self, out) -> np.ndarray:
        """Write K to the lower triangle of ``out``."""
        support = self.support
        starts = np.concatenate([[0], np.flatnonzero(np.diff(support) != 1) + 1])
        if len(starts) > 32:
            np.take(self._gram[support], support, axis=1, out=out)
            return out
        runs = []
        for start, end in itertools.pairwise([*starts, len(support)]):
            first = support[start]
            runs.append((slice(start, end), slice(first, first + end - start)))
            to_rows, rows = runs[-1]
            for to_columns, columns in runs:
                out[to_rows, to_columns] = self._gram[rows, columns]
        return out

    def times(self, r) -> np.ndarray:
        """K r, (n, p)."""
        scattered = np.zeros((len(self._gram), r.shape[1]))
        scattered[self.support] = r
        return symmetric_product(self._gram, scattered)[self.support]


class Symmetric(WeightedRidge):
    """S(αI + SKS)⁻¹S⁺ where S is invertible, with a correction where it is not (Woodbury)."""

    def __init__(self, kernel, curvatures, alpha, small=SMALL_CURVATURE):
        super().__init__(kernel)
        self._root = Root(curvatures, small)
        self._alpha = alpha

    @abc.abstractmethod
    def _solve_symmetric(self, rhs):
        """(αI + SKS)⁻¹ rhs of an (n, p) rhs."""

    def on_support(self, rhs):
        root = self._root
        scaled = root.divide(rhs)
        beta = root.times(self._solve_symmetric(scaled))
        if root.full_rank:
            return beta
        rest = rhs - root.times(scaled)
        through = self._solve_symmetric(root.times(self.kernel.times(rest)))
        return beta + (rest - root.times(through)) / self._alpha


class Decoupled(Symmetric):
    """Symmetric systems αI + SKS that share one factor, or have one for each output."""

    def __init__(self, kernel, curvatures, alpha, small=SMALL_CURVATURE):
        super().__init__(kernel, curvatures, alpha, small)
        roots = self._root.root
        self.factors = []
        for s in [roots] if roots.ndim == 1 else roots.T:
            factor = Cholesky(partial(self._matrix, s, self._buffer()))
            self.factors.append(factor)
            self.jitter = max(self.jitter, factor.jitter)

    def _matrix(self, s, out):
        """αI + SKS for one diagonal S."""
        self.kernel.copy_to(out)
        with np.errstate(all="ignore"):  # the upper triangle holds whatever was there
            if not self._root.uniform:
                out *= s[:, None]
                out *= s
            elif s[0] != 1.0:
                out *= s[0] ** 2
        out.flat[:: len(out) + 1] += self._alpha
        return out

    def _solve_symmetric(self, rhs):
        (factor, *others) = self.factors
        return solve_columns(self.factors, rhs) if others else factor.solve(rhs)


def solve_columns(factors, rhs):
    """Solve for the columns of ``rhs`` (N, p), with one factor for all or one for each."""
    if len(factors) == 1:
        return factors[0].solve(rhs)
    columns = [factor.solve(column) for factor, column in zip(factors, rhs.T, strict=True)]
    return np.stack(columns, axis=1)
