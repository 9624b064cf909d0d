"""What the exact solver asks of a space: values, norms, and ridge systems for given curvatures.

All on the host in float64, about one instance of a problem.
"""

from __future__ import annotations

import abc

import equinox as eqx
import numpy as np

from .base import AdjointSolution

CORRECTION_TOLERANCE = 1e-11


@eqx.filter_jit
def _weights_and_ridge(problem, omega):
    instance = problem.at(omega)
    return instance.inner.weight_matrix(), instance.ridge


def host(array) -> np.ndarray:
    """A jax array as a float64 NumPy one."""
    return np.asarray(array, dtype=np.float64)


class System(abc.ABC):
    """Weights (F, n), α_f = ridge_f Σ_i w_fi, and the space's linear algebra.

    Coefficients have shape (F, N, p): N = n for kernels, the number of features otherwise.
    Curvatures C = w ∂²ℓ have shape (F, n, p, p).

    Attributes
    ----------
    gram : jax.Array or None
        See kbo.spaces.base.Frozen.
    """

    gram = None

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


def corrected(factors, apply, rhs):
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
