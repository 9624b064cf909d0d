"""The two exact discretisations: the representer theorem (kernel) and finite features.

Both answer the same questions about one instance of a problem, on the host in float64: values
of a function, its squared norm, the ridge system for given curvatures.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import linalg
from ..linalg import Cholesky
from ..spaces import RKHS, FeatureSpace
from ..spaces.base import replicates_first, replicates_last
from .base import AdjointSolution
from .weighted_ridge import SMALL_CURVATURE, Simplex, SubGram, decouple, solve_columns, weighted_ridge

CORRECTION_TOLERANCE = 1e-11


@eqx.filter_jit
def _weights_and_ridge(problem, omega):
    instance = problem.at(omega)
    return instance.inner.weight_matrix(), instance.ridge


@eqx.filter_jit(donate="all-except-first")
def _gram(problem_and_omega, out):
    problem, omega = problem_and_omega
    instance = problem.at(omega)
    return linalg.gram(instance.space.kernel, instance.inner.x, out)


@eqx.filter_jit
def _cross_gram(problem, omega):
    instance = problem.at(omega)
    return linalg.cross_gram(instance.space.kernel, instance.outer.x, instance.inner.x)


@eqx.filter_jit
def _feature_matrices(problem, omega, shared):
    instance = problem.at(omega)
    inner = instance.space.features(instance.inner.x)
    return inner, inner if shared else instance.space.features(instance.outer.x)


def host(array) -> np.ndarray:
    """A jax array as a float64 NumPy one."""
    return np.asarray(array, dtype=np.float64)


class Workspace:
    """Memory and warm start carried from one solve to the next.

    Attributes
    ----------
    arena : kbo.linalg.Arena
        For the factors.
    gram : jax.Array or None
        The last Gram matrix; its buffer is donated to the next one.
    values : ndarray or None
        Those of the last inner solution at the inner points, (F, n, p).
    """

    def __init__(self):
        self.arena, self.gram, self.values = linalg.Arena(), None, None


def build_system(problem, omega, shared, workspace):
    """The system of the problem's space at ω.

    Raises
    ------
    ValueError
        If the exact solver does not know the space.
    """
    space = problem.space(omega) if callable(problem.space) else problem.space
    if isinstance(space, RKHS):
        return KernelSystem(problem, omega, shared, workspace)
    if isinstance(space, FeatureSpace):
        return FeatureSystem(problem, omega, shared)
    raise ValueError(f"space={type(space).__name__} has no exact solver: use RKHS or FeatureSpace")


class System(abc.ABC):
    """Weights (F, n), α_f = ridge_f Σ_i w_fi, and the space's linear algebra.

    Coefficients have shape (F, N, p): N = n for kernels, the number of features otherwise.
    Curvatures C = w ∂²ℓ have shape (F, n, p, p).
    """

    def __init__(self, problem, omega):
        weights, ridge = map(host, _weights_and_ridge(problem, omega))
        if not (np.isfinite(ridge).all() and (ridge > 0).all()):
            raise ValueError(f"ridge={ridge.tolist()} must be positive and finite")
        F = len(ridge)
        self.weights = np.broadcast_to(weights, (F, weights.shape[1]))
        self.total = self.weights.sum(1)
        self.ridge = ridge
        self.alpha = self.total * ridge

    @abc.abstractmethod
    def values(self, coefficients) -> np.ndarray:
        """h at the inner points, (F, n, p)."""

    @abc.abstractmethod
    def outer_values(self, coefficients, inner_values) -> np.ndarray:
        """h at the outer points, (F, m, p)."""

    @abc.abstractmethod
    def pairing(self, left, right, right_values) -> np.ndarray:
        """⟨h, g⟩_H of two coefficient arrays (F, N, p), given g's inner values: (F,)."""

    def norm(self, coefficients) -> np.ndarray:
        """‖h‖_H: (F,)."""
        squares = self.pairing(coefficients, coefficients, self.values(coefficients))
        return np.sqrt(np.maximum(squares, 0.0))

    @abc.abstractmethod
    def norm_bound(self, coefficients) -> np.ndarray:
        """An upper bound on ‖h‖_H that needs no product with K: (F,)."""

    @abc.abstractmethod
    def gradient(self, slopes, coefficients) -> np.ndarray:
        """Coefficients of ∇J = (1/Σw) Σ w_i slopes_i k(x_i, ·) + ridge h."""

    @abc.abstractmethod
    def factorise(self, fold, curvatures, simplex=None) -> Factor:
        """The ridge system of one replicate for its weighted curvatures (n, p, p).

        ``simplex`` (n, p): π, where the curvatures are w(diag π − ππᵀ).
        """

    @abc.abstractmethod
    def adjoint(self, factors, slopes, curvatures) -> AdjointSolution:
        """a = argmin ½ΣC a² + (α/2)‖a‖² + Σw Σ_j slopes_j·a(x'_j), by the given factors.

        Where ``curvatures`` differ from a factor's own, it preconditions a few corrections.
        """


class Factor(abc.ABC):
    """(α + C)⁻¹ in function space: a factorised ridge system of one replicate.

    Attributes
    ----------
    jitter : float
    """

    jitter: float

    @abc.abstractmethod
    def solve(self, rhs) -> np.ndarray:
        """Kernel: β with (αI + CK)β = rhs. Features: θ with (αI + ΦᵀCΦ)θ = rhs."""

    def release(self):  # noqa: B027
        """Give memory back before the factor is replaced."""

    @abc.abstractmethod
    def minimise(self, functional) -> np.ndarray:
        """argmin_h ½Σ h(x_i)ᵀC_i h(x_i) + (α/2)‖h‖² + Σ_i functional_i·h(x_i), coefficients."""


def _corrected(factors, apply, rhs):
    """Solve for every replicate, refined until apply(solution) = rhs to rounding.

    Returns the solution, what ``apply`` reported beside its image, and what is left.
    """
    solve = lambda r: np.stack([f.solve(b) for f, b in zip(factors, r, strict=True)])  # noqa: E731
    size = lambda r: np.linalg.norm(r, axis=(1, 2))  # noqa: E731
    solution = solve(rhs)
    image, extra = apply(solution)
    rest = rhs - image
    while (size(rest) > CORRECTION_TOLERANCE * size(rhs)).any():
        candidate = solution + solve(rest)
        image, candidate_extra = apply(candidate)
        candidate_rest = rhs - image
        if not size(candidate_rest).max() < 0.5 * size(rest).max():
            break
        solution, extra, rest = candidate, candidate_extra, candidate_rest
    return solution, extra, rest


class KernelSystem(System):
    """h = Σ_i θ_i k(x_i, ·): exact by the representer theorem."""

    def __init__(self, problem, omega, shared, workspace):
        super().__init__(problem, omega)
        self._shared, self._arena = shared, workspace.arena
        self._arena.reset()
        x = problem.at(omega).inner.x if callable(problem.inner_data) else problem.inner_data.x
        self.size, side = x.shape[0], linalg.tiled_size(x.shape[0])
        out, workspace.gram = workspace.gram, None
        if out is None or out.shape != (side, side) or out.dtype != x.dtype:
            out = jnp.zeros((side, side), x.dtype)
        workspace.gram = _gram((problem, omega), out)
        self._lower = host(workspace.gram)
        self._cross = None if shared else host(_cross_gram(problem, omega))
        self._diagonal = self._lower.diagonal()[: self.size]

    def values(self, coefficients):
        flat = replicates_last(coefficients)
        return replicates_first(linalg.symmetric_product(self._lower, flat), len(self.alpha))

    def outer_values(self, coefficients, inner_values):
        if self._shared:
            return inner_values
        return replicates_first(
            linalg.product(self._cross, replicates_last(coefficients)), len(self.alpha)
        )

    def pairing(self, left, right, right_values):
        return np.sum(left * right_values, (1, 2))

    def norm_bound(self, coefficients):
        # ρᵀKρ ≤ trace(K on ρ's support)·‖ρ‖².
        used = (coefficients != 0).any(2)
        trace = np.sum(np.where(used, np.abs(self._diagonal), 0.0), 1)
        return np.sqrt(trace) * np.linalg.norm(coefficients, axis=(1, 2))

    def gradient(self, slopes, coefficients):
        weighted = self.weights[:, :, None] * slopes
        return weighted / self.total[:, None, None] + self.ridge[:, None, None] * coefficients

    def factorise(self, fold, curvatures, simplex=None):
        weights, alpha = self.weights[fold], self.alpha[fold]
        support = np.flatnonzero(weights > 0)
        kernel = SubGram(self._lower, support, self._arena)
        if simplex is None:
            return _KernelFactor(weighted_ridge(kernel, curvatures[support], alpha))
        return _KernelFactor(Simplex(kernel, weights[support], simplex[support], alpha))

    def _embed(self, slopes):
        """Σ_j slopes_j k(x'_j, ·) at the inner points, (F, n, p)."""
        if self._shared:
            return self.values(slopes)
        return replicates_first(
            linalg.product(self._cross.T, replicates_last(slopes)), len(self.alpha)
        )

    def adjoint(self, factors, slopes, curvatures):
        # a = Σ β_i k(x_i, ·) − Σ_j (slopes_j/ridge) k(x'_j, ·) with (αI + CK)β = C embedding.
        alpha = self.alpha[:, None, None]
        riesz = -slopes / self.ridge[:, None, None]
        embedding = self._embed(riesz)
        curve = lambda values: np.einsum("fiab,fib->fia", curvatures, values)  # noqa: E731

        def apply(beta):
            values = self.values(beta)
            return alpha * beta + curve(values), values

        beta, values, rest = _corrected(factors, apply, curve(-embedding))
        values = values + embedding
        # −αβ = C a is the better route to a where C is invertible: no cancellation for small α.
        inverse = _pseudo_inverse(curvatures)
        values -= np.einsum("fiab,fib->fia", inverse, curve(values) + alpha * beta)
        residual = float((self.norm_bound(rest) / self.total).max())
        if self._shared:
            return AdjointSolution(values, beta + riesz, False, residual)
        return AdjointSolution(values, np.concatenate([beta, riesz], axis=1), True, residual)


class _KernelFactor(Factor):
    """Coefficients vanish off the replicate's support."""

    def __init__(self, ridge):
        self._support, self._ridge = ridge.kernel.support, ridge
        self.jitter = self._ridge.jitter

    def solve(self, rhs):
        out = np.zeros_like(rhs)
        out[self._support] = self._ridge.solve(rhs[self._support])
        return out

    def minimise(self, functional):
        return self.solve(-functional)

    def release(self):
        self._ridge.release()


def _pseudo_inverse(curvatures):
    """C⁺ on the part of each block that is well determined."""
    scale = np.abs(curvatures).max(initial=0.0)
    if curvatures.shape[-1] == 1:
        kept = curvatures > SMALL_CURVATURE * scale
        return np.divide(1.0, curvatures, out=np.zeros_like(curvatures), where=kept)
    values, vectors = np.linalg.eigh(curvatures)
    kept = values > SMALL_CURVATURE * scale
    inverses = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    return np.einsum("fiac,fic,fibc->fiab", vectors, inverses, vectors)


class FeatureSystem(System):
    """h = φ(·)ᵀθ: the normal equations of a finite feature map."""

    def __init__(self, problem, omega, shared):
        super().__init__(problem, omega)
        inner, outer = _feature_matrices(problem, omega, shared)
        self.features, self.outer_features = host(inner), host(outer)
        self.size = self.features.shape[1]

    def _times(self, matrix, coefficients):
        """matrix @ each replicate, (F, rows, p)."""
        product = linalg.product(matrix, replicates_last(coefficients))
        return replicates_first(product, len(self.alpha))

    def values(self, coefficients):
        return self._times(self.features, coefficients)

    def outer_values(self, coefficients, inner_values):
        return self._times(self.outer_features, coefficients)

    def pairing(self, left, right, right_values):
        return np.sum(left * right, (1, 2))

    def norm_bound(self, coefficients):
        return np.linalg.norm(coefficients, axis=(1, 2))

    def gradient(self, slopes, coefficients):
        weighted = self.weights[:, :, None] * slopes
        mean = self._times(self.features.T, weighted)
        return mean / self.total[:, None, None] + self.ridge[:, None, None] * coefficients

    def factorise(self, fold, curvatures, simplex=None):
        return _FeatureFactor(self.features, curvatures, self.alpha[fold])

    def adjoint(self, factors, slopes, curvatures):
        scaled = slopes * self.total[:, None, None]
        rhs = -self._times(self.outer_features.T, scaled)

        def apply(theta):
            curved = np.einsum("fiab,fib->fia", curvatures, self.values(theta))
            image = self._times(self.features.T, curved)
            return image + self.alpha[:, None, None] * theta, None

        theta, _, rest = _corrected(factors, apply, rhs)
        residual = float((self.norm_bound(rest) / self.total).max())
        return AdjointSolution(theta, theta, False, residual)


class _FeatureFactor(Factor):
    """One factor for all outputs, one for each, or one for the coupled whole."""

    def __init__(self, features, curvatures, alpha):
        self._features = features
        q, p = features.shape[1], curvatures.shape[-1]
        C = decouple(curvatures)
        if C.ndim == 3:
            matrix = np.einsum("iq,iab,ir->qarb", features, C, features, optimize=True)
            matrices = [matrix.reshape(q * p, q * p)]
        else:
            columns = np.atleast_2d(C.T)
            matrices = [linalg.product(features.T, c[:, None] * features) for c in columns]
        self._coupled = C.ndim == 3
        self._factors = []
        for matrix in matrices:
            build = lambda matrix=matrix: matrix + alpha * np.eye(len(matrix))  # noqa: E731
            self._factors.append(Cholesky(build))
        self.jitter = max(factor.jitter for factor in self._factors)

    def solve(self, rhs):
        if self._coupled:
            return self._factors[0].solve(rhs.ravel()).reshape(rhs.shape)
        return solve_columns(self._factors, rhs)

    def minimise(self, functional):
        return self.solve(-linalg.product(self._features.T, functional))
