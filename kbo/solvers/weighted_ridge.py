"""The one linear operator, solved again and again: curvature-weighted ridge systems.

Curvatures C_i = w_i ∂²ℓ_i are p×p blocks. Where they are multiples of the identity one
factorisation serves every output; where they are diagonal the outputs decouple; otherwise the
system is solved as a whole, or by conjugate gradients preconditioned with the decoupled one.
"""

from __future__ import annotations

import abc
from functools import partial

import numpy as np

from ..linalg import Cholesky, SingularSystem, outer_product, symmetric_product

COUPLED_DENSE_LIMIT = 1500  # unknowns up to which a coupled system is factorised as a whole
CG_TOLERANCE = 1e-14
SMALLEST_PROBABILITY = 1e-30
SMALL_CURVATURE = 1e-6  # of the largest: below it, dividing by the curvature loses digits


def decouple(curvatures):
    """(n, p, p) as (n,) if multiples of the identity, (n, p) if diagonal, else unchanged."""
    p = curvatures.shape[-1]
    diagonal = np.diagonal(curvatures, axis1=1, axis2=2)
    if p > 1 and np.count_nonzero(curvatures) > np.count_nonzero(diagonal):
        return curvatures
    return diagonal[:, 0].copy() if (diagonal == diagonal[:, :1]).all() else diagonal.copy()


class _Root:
    """S with S² = C, and its pseudo-inverse on the well-determined part.

    Parameters
    ----------
    curvatures : ndarray (n,), (n, p) or (n, p, p)
        As ``decouple`` returns them.
    small : float
        What is not well determined, relative to the largest curvature.
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
        compose = lambda spectrum: np.einsum("iac,ic,ibc->iab", vectors, spectrum, vectors)  # noqa: E731
        self.root = compose(roots) if self.coupled else roots
        self.pinv = compose(inverses) if self.coupled else inverses
        self.uniform = curvatures.ndim == 1 and bool((curvatures == curvatures[0]).all())

    @staticmethod
    def _apply(factor, r):
        if factor.ndim == 3:
            return np.einsum("iab,ib->ia", factor, r)
        return factor[:, None] * r if factor.ndim == 1 else factor * r

    def times(self, r):
        """S r for (n, p) r."""
        return self._apply(self.root, r)

    def divide(self, r):
        """S⁺ r."""
        return self._apply(self.pinv, r)


class WeightedRidge(abc.ABC):
    """(α I + C K)⁻¹, C = blockdiag(C_i), on the points with positive weight.

    Attributes
    ----------
    jitter : float
    kernel : SubGram
    """

    jitter: float
    kernel: SubGram

    @abc.abstractmethod
    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """β with (α I + C K) β = rhs, both (n, p)."""

    @abc.abstractmethod
    def release(self):
        """Give the factors' memory back; the system cannot be solved again."""


class SubGram:
    """K on the points with positive weight, a principal submatrix of the whole Gram matrix.

    Parameters
    ----------
    gram : ndarray (N, N)
        Its lower triangle is read.
    support : ndarray of int
        Increasing indices. Contiguous runs are copied as slices, so samples ordered by fold
        are cheap to leave out.
    arena : kbo.linalg.Arena
    """

    def __init__(self, gram, support, arena):
        self._gram, self.support, self._arena = gram, support, arena

    def buffer(self, p=1) -> np.ndarray:
        """Memory for a matrix of p unknowns a point."""
        return self._arena.take(p * len(self.support))

    def give_back(self, buffers):
        """Return memory from ``buffer``."""
        for buffer in buffers:
            self._arena.give_back(buffer)

    def copy_to(self, out) -> np.ndarray:
        """Fill the lower triangle of ``out``."""
        support = self.support
        starts = np.concatenate([[0], np.flatnonzero(np.diff(support) != 1) + 1])
        if len(starts) > 32:
            np.take(self._gram[support], support, axis=1, out=out)
            return out
        lengths = np.diff(np.append(starts, len(support)))
        runs = [
            (slice(a, a + k), slice(support[a], support[a] + k))
            for a, k in zip(starts, lengths, strict=True)
        ]
        for r, (to_rows, rows) in enumerate(runs):
            for to_columns, columns in runs[: r + 1]:
                out[to_rows, to_columns] = self._gram[rows, columns]
        return out

    def times(self, r) -> np.ndarray:
        """K r, (n, p)."""
        scattered = np.zeros((len(self._gram), r.shape[1]))
        scattered[self.support] = r
        return symmetric_product(self._gram, scattered)[self.support]


def weighted_ridge(kernel: SubGram, curvatures, alpha) -> WeightedRidge:
    """The solver for these curvatures (n, p, p) and this α."""
    curvatures = decouple(curvatures)
    if curvatures.ndim < 3:
        return _Decoupled(kernel, curvatures, alpha)
    if curvatures.shape[0] * curvatures.shape[1] <= COUPLED_DENSE_LIMIT:
        return _Dense(kernel, curvatures, alpha)
    return _Iterative(kernel, curvatures, alpha)


class _Symmetric(WeightedRidge):
    """S(αI + SKS)⁻¹S⁺ where S is invertible, corrected where it is not (Woodbury)."""

    def __init__(self, kernel, curvatures, alpha, small=SMALL_CURVATURE):
        self.kernel = kernel
        self._root = _Root(curvatures, small)
        self._alpha = alpha
        self._buffers = []

    def _buffer(self, p=1):
        self._buffers.append(self.kernel.buffer(p))
        return self._buffers[-1]

    def release(self):
        self.kernel.give_back(self._buffers)

    @abc.abstractmethod
    def _solve_symmetric(self, rhs):
        """(αI + SKS)⁻¹ rhs."""

    def solve(self, rhs):
        root = self._root
        scaled = root.divide(rhs)
        beta = root.times(self._solve_symmetric(scaled))
        if root.full_rank:
            return beta
        rest = rhs - root.times(scaled)
        through = self._solve_symmetric(root.times(self.kernel.times(rest)))
        return beta + (rest - root.times(through)) / self._alpha


class _Decoupled(_Symmetric):
    """One factor for all outputs, or one for each, of αI + SKS."""

    def __init__(self, kernel, curvatures, alpha, small=SMALL_CURVATURE):
        super().__init__(kernel, curvatures, alpha, small)
        roots = self._root.root
        self.factors = []
        for s in [roots] if roots.ndim == 1 else roots.T:
            build = partial(self._matrix, s, self._buffer())
            self.factors.append(Cholesky(build))
        self.jitter = max(factor.jitter for factor in self.factors)

    def _matrix(self, s, out):
        """αI + SKS for one diagonal S."""
        self.kernel.copy_to(out)
        if not self._root.uniform:
            with np.errstate(all="ignore"):  # the upper triangle holds whatever was there
                out *= s[:, None]
                out *= s
        elif s[0] != 1.0:
            out *= s[0] ** 2
        out.flat[:: len(out) + 1] += self._alpha
        return out

    def _solve_symmetric(self, rhs):
        return solve_columns(self.factors, rhs)


def solve_columns(factors, rhs):
    """One factor for every column of ``rhs`` (N, p), or one for each."""
    if len(factors) == 1:
        return factors[0].solve(rhs)
    columns = [factor.solve(column) for factor, column in zip(factors, rhs.T, strict=True)]
    return np.stack(columns, axis=1)


class _Dense(_Symmetric):
    """The whole np × np matrix αI + S(K⊗I)S."""

    def __init__(self, kernel, curvatures, alpha):
        super().__init__(kernel, curvatures, alpha)
        p = curvatures.shape[-1]
        self._factor = Cholesky(partial(self._matrix, self._buffer(p), self._buffer()))
        self.jitter = self._factor.jitter

    def _matrix(self, out, K):
        n, p, _ = self._root.root.shape
        self.kernel.copy_to(K)
        S = self._root.root.reshape(n * p, p)
        outer_product(S, out)  # its (i, j) block is S_i S_j
        blocks = out.reshape(n, p, n, p)
        with np.errstate(all="ignore"):  # the upper triangles hold whatever was there
            blocks *= K[:, None, :, None]
        out.flat[:: n * p + 1] += self._alpha
        return out

    def _solve_symmetric(self, rhs):
        return self._factor.solve(rhs.ravel()).reshape(rhs.shape)


class Simplex(WeightedRidge):
    """Curvatures C_i = w_i(diag π_i − π_iπ_iᵀ) exactly: a factor a class, and one to couple them.

    With A_a = αI + wπ_a K and s = Σ_a √w π_a (Kβ)_a, a vector over points,

        β_a = A_a⁻¹(r_a + √w π_a s),      T s = Σ_a √w π_a (K A_a⁻¹ r_a),
        T = α Σ_a π_a^½ (αI + S_aKS_a)⁻¹ π_a^½,    S_a² = wπ_a    (because Σ_a π_a = 1).

    Parameters
    ----------
    weights, probabilities : ndarray (n,), (n, p)
        w > 0 and π.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, Algorithm 3.3.
    """

    def __init__(self, kernel, weights, probabilities, alpha):
        self.kernel = kernel
        probabilities = np.maximum(probabilities, SMALLEST_PROBABILITY)
        # Every right-hand side that matters is small where the curvature is: dividing is safe.
        self._classes = _Decoupled(kernel, weights[:, None] * probabilities, alpha, small=0.0)
        self._mixing = np.sqrt(weights)[:, None] * probabilities
        self._buffers = kernel.buffer(), kernel.buffer()
        self._coupling = Cholesky(
            partial(self._coupling_matrix, np.sqrt(alpha * probabilities), *self._buffers)
        )
        self.jitter = max(self._classes.jitter, self._coupling.jitter)

    def _coupling_matrix(self, roots, total, inverse):
        total[:] = 0
        with np.errstate(all="ignore"):  # the upper triangles hold whatever was there
            for factor, root in zip(self._classes.factors, roots.T, strict=True):
                factor.inverse(inverse)
                inverse *= root[:, None]
                inverse *= root
                total += inverse
        return total

    def release(self):
        self._classes.release()
        self.kernel.give_back(self._buffers)

    def solve(self, rhs):
        beta = self._classes.solve(rhs)
        pull = np.sum(self._mixing * self.kernel.times(beta), 1)
        shared = self._coupling.solve(pull)
        return beta + self._classes.solve(self._mixing * shared[:, None])


class _Iterative(WeightedRidge):
    """Conjugate gradients in the K inner product, where αI + CK is self-adjoint.

    Preconditioned with the diagonal of C.
    """

    def __init__(self, kernel, curvatures, alpha):
        self.kernel = kernel
        self._curvatures = curvatures
        self._alpha = alpha
        diagonal = np.diagonal(curvatures, axis1=1, axis2=2).copy()
        self._preconditioner = _Decoupled(kernel, diagonal, alpha)
        self.jitter = self._preconditioner.jitter

    def release(self):
        self._preconditioner.release()

    def solve(self, rhs):
        beta, residual = np.zeros_like(rhs), rhs.copy()
        z = self._preconditioner.solve(residual)
        direction, Kz = z, self.kernel.times(z)
        K_direction = Kz
        rho = np.sum(residual * Kz)
        target = CG_TOLERANCE * np.linalg.norm(rhs)
        best = np.inf
        for _ in range(10 * rhs.shape[1] + 200):
            norm = np.linalg.norm(residual)
            if norm <= target or rho <= 0:
                return beta
            best = min(best, norm)
            if norm > 1e3 * best:
                break
            image = self._alpha * direction + np.einsum(
                "iab,ib->ia", self._curvatures, K_direction
            )
            step = rho / np.sum(image * K_direction)
            beta = beta + step * direction
            residual = residual - step * image
            z = self._preconditioner.solve(residual)
            Kz = self.kernel.times(z)
            rho, previous = np.sum(residual * Kz), rho
            direction = z + (rho / previous) * direction
            K_direction = Kz + (rho / previous) * K_direction
        if np.linalg.norm(residual) <= 1e6 * target:
            return beta
        raise SingularSystem("conjugate gradients stalled on the coupled system")
