"""What Newton's method asks of a space: values, norms, and ridge systems for given curvatures.

All in float64, about one instance of a problem.
"""

from __future__ import annotations

import abc
import functools
from typing import ClassVar

import numpy as np

from ...result import InvalidPoint
from ..base import AdjointSolution

PATIENCE = 50  # steps of conjugate gradients without progress: rounding has ended them
CORRECTION_TOLERANCE = 1e-11
STALE = 1e-8
ACCEPTABLE = 1e-3  # relative residual where rounding ends a solve: worse is an error


host = functools.partial(np.asarray, dtype=np.float64)  # from a jax array


class System(abc.ABC):
    """Weights (F, n), α_f = ridge_f Σ_i w_fi, and the space's linear algebra.

    Coefficients have shape (F, N, p): N = n for kernels, the number of features or centres
    otherwise. Curvatures C = w ∂²ℓ have shape (F, n, p, p).

    Attributes
    ----------
    size : int
        N.
    gram : jax.Array or None
        See kbo.spaces.base.Frozen.
    jitter : float
        The largest that a factorisation of this system has needed.
    cut_short : bool
        Whether the last solve ended with its budget of iterations, not with its tolerance.
    from_coefficients : bool
        Whether a start from the last solution's coefficients pays, rather than from its values:
        then ``solve`` has only the difference left to find.
    """

    size: int
    gram = None
    jitter = 0.0
    cut_short = False
    from_coefficients: ClassVar[bool] = False

    def __init__(self, instance):
        ridge, weights = host(instance.ridge), instance.inner.weights
        weights = np.ones((1, instance.inner.size)) if weights is None else host(weights)
        if not (np.isfinite(ridge).all() and (ridge > 0).all()):
            raise InvalidPoint(f"ridge={ridge.tolist()} must be positive and finite")
        F = len(ridge)
        self.weights = np.broadcast_to(weights, (F, weights.shape[-1]))
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

    def accuracy(self, gradient, norms, values, curvatures, tight=False):
        """The error that ∇J bounds, and the size it is relative to, (F,) each.

        Here in H, ‖∇J‖ and ridge·‖h‖; ``tight`` asks for the norm itself, not a bound on it.
        """
        size = self.norm if tight else self.norm_bound
        return size(gradient), self.ridge * np.sqrt(np.maximum(norms, 0.0))

    def rounding(self, objective):
        """Errors, as in ``accuracy``, at which J is minimal to eps², relative to its size."""
        mean = np.abs(objective) / self.total
        return np.finfo(float).eps * np.sqrt(2 * self.ridge * mean)

    @abc.abstractmethod
    def gradient(self, slopes, coefficients) -> np.ndarray:
        """Coefficients of ∇J = (1/Σw) Σ w_i slopes_i k(x_i, ·) + ridge h."""

    @property
    def direct(self) -> bool:
        """Whether ``solve`` is as good as rounding allows, so that a quadratic is done at once."""
        return not self.jitter

    @property
    @abc.abstractmethod
    def missing(self) -> list[int]:
        """The replicates that were never factorised."""

    def representation(self, coefficients) -> np.ndarray:
        """What Λ freezes of h (see the space): the coefficients themselves, unless overridden."""
        return coefficients

    @abc.abstractmethod
    def factorise(self, replicates, curvatures, probabilities=None):
        """Make ``solve`` solve the ridge systems of these weighted curvatures (F, n, p, p).

        ``replicates`` lists those that will be solved; ``probabilities`` (F, n, p) is given where
        C = w(diag π − ππᵀ).
        """

    @abc.abstractmethod
    def forget(self):
        """Drop the factors, as if there had been none."""

    @abc.abstractmethod
    def solve(self, rhs, replicates=None, target=None) -> np.ndarray:
        """(α + C)⁻¹ rhs in function space, (F, N, p); zero in replicates not asked for.

        Kernel: β with (αI + CK)β = rhs. Features: θ with (αI + ΦᵀCΦ)θ = rhs. Systems that
        iterate may stop at errors of ``target`` (F,), in the norm of ``accuracy``.
        """

    @abc.abstractmethod
    def minimise(self, functional) -> np.ndarray:
        """argmin_h ½Σ h(x_i)ᵀC_i h(x_i) + (α/2)‖h‖² + Σ_i functional_i·h(x_i), coefficients."""

    @abc.abstractmethod
    def adjoint(self, slopes, curvatures) -> AdjointSolution:
        """a = argmin ½ΣC a² + (α/2)‖a‖² + Σw Σ_j slopes_j·a(x'_j), by the present factors.

        Where ``curvatures`` differ from the factors' own, they precondition a few corrections.
        """


class Factor(abc.ABC):
    """A factorised ridge system of one replicate.

    Attributes
    ----------
    jitter : float
    """

    jitter: float

    @abc.abstractmethod
    def solve(self, rhs, enough=0.0) -> np.ndarray:
        """See System, for one replicate; what iterates may stop at residuals of ``enough``."""

    def release(self):  # noqa: B027
        """Give memory back before the factor is replaced."""


class FactoredSystem(System):
    """A factor for each replicate, kept while its curvatures stay the same."""

    def __init__(self, instance):
        super().__init__(instance)
        F = len(self.alpha)
        self._factors: list[Factor | None] = [None] * F
        self._known = [None] * F

    @property
    def missing(self):
        """See System."""
        return [f for f, factor in enumerate(self._factors) if factor is None]

    @abc.abstractmethod
    def _factor(self, replicate, curvatures, probabilities) -> Factor:
        """The factor of one replicate's curvatures (n, p, p)."""

    def factorise(self, replicates, curvatures, probabilities=None):
        """See System."""
        for f in replicates:
            if self._factors[f] is not None:
                if np.array_equal(self._known[f], curvatures[f]):
                    continue
                self._factors[f].release()
                self._factors[f] = None
            of_f = None if probabilities is None else probabilities[f]
            self._factors[f] = self._factor(f, curvatures[f], of_f)
            self._known[f] = curvatures[f]
            self.jitter = max(self.jitter, self._factors[f].jitter)

    def forget(self):
        """See System."""
        for factor in self._factors:
            if factor is not None:
                factor.release()
        F = len(self.alpha)
        self._factors, self._known, self.jitter = [None] * F, [None] * F, 0.0

    def solve(self, rhs, replicates=None, target=None):
        """See System."""
        out = np.zeros_like(rhs)
        for f in range(len(rhs)) if replicates is None else replicates:
            enough = 0.0 if target is None else self.total[f] * target[f]
            out[f] = self._factors[f].solve(rhs[f], enough)
        return out

    def _refined(self, apply, rhs, curvatures):
        """``corrected``, with factors of these very curvatures where the old ones fail."""
        found = corrected(self.solve, apply, rhs)
        if np.linalg.norm(found[2]) > STALE * np.linalg.norm(rhs):
            self.factorise(range(len(rhs)), curvatures)
            found = corrected(self.solve, apply, rhs)
        return found


def relative_size(rest, rhs) -> float:
    """‖rest‖/‖rhs‖ of the worst replicate; zero where there is nothing to solve for."""
    left, right = (np.linalg.norm(part, axis=(1, 2)) for part in (rest, rhs))
    return float(np.divide(left, right, out=np.zeros_like(left), where=right > 0).max())


def corrected(solve, apply, rhs):
    """Solve for every replicate, refined until apply(solution) = rhs to rounding.

    Returns the solution, what ``apply`` reported beside its image, and what is left.
    """
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
