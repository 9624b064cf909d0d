"""The interface between Newton's method and a space: values, norms and weighted ridge systems.

A System belongs to one instance of a problem, and computes in float64.
"""

from __future__ import annotations

import abc
import functools
from typing import ClassVar

import numpy as np

from ...result import InvalidPoint, Status
from ..base import AdjointSolution

PATIENCE = 50  # steps of conjugate gradients without progress, after which rounding ends them
CORRECTION_TOLERANCE = 1e-11
STALE = 1e-8  # relative residual above which factors of earlier curvatures are replaced
ACCEPTABLE = 1e-3  # largest relative residual accepted when rounding ends a solve


host = functools.partial(np.asarray, dtype=np.float64)  # from a jax array


def accepted(tol, cut_short) -> float:
    """The relative residual to accept, above ``tol`` only if rounding ended the solve."""
    return tol if cut_short else max(tol, ACCEPTABLE)


class System(abc.ABC):
    """The linear algebra of a space, with weights (F, n) and α_f = ridge_f Σ_i w_fi.

    Coefficients have shape (F, N, p): N = n for kernels, the number of features or centres
    otherwise. Curvatures C = w ∂²ℓ have shape (F, n, p, p).

    Attributes
    ----------
    size : int
        N.
    gram : jax.Array or None
        See kbo.spaces.base.Frozen.
    jitter : float
        The largest jitter that a factorisation of this system has needed.
    cut_short : bool
        Whether the last solve ended by its budget of iterations, not by its tolerance.
    from_coefficients : bool
        Whether a warm start consists of the last solution's coefficients rather than its values:
        an iterative ``solve`` then has only the difference to find.
    jointly : bool
        Whether one preparation serves all replicates.
    """

    size: int
    gram = None
    jitter = 0.0
    cut_short = False
    from_coefficients: ClassVar[bool] = False
    jointly: ClassVar[bool] = False

    def __init__(self, instance):
        ridge, weights = host(instance.ridge), instance.inner.weights
        weights = np.ones((1, instance.inner.size)) if weights is None else host(weights)
        if not (np.isfinite(ridge).all() and (ridge > 0).all()):
            raise InvalidPoint(
                f"ridge={ridge.tolist()} must be positive and finite: tune its logarithm, "
                "ridge=lambda omega: jnp.exp(omega[…]), or bound omega (bounds=); a loss that is "
                "strongly convex in the coefficients needs none with solver=QuasiNewton(), "
                "method=Parametric()"
            )
        F = len(ridge)
        self.weights = np.broadcast_to(weights, (F, weights.shape[-1]))
        self.total = self.weights.sum(1)
        self.ridge = ridge
        self.alpha = self.total * ridge
        self._curvatures = None  # (F, n, p, p): those of the replicates that are prepared
        self._prepared = np.zeros(F, bool)

    @abc.abstractmethod
    def values(self, coefficients) -> np.ndarray:
        """h at the inner points, (F, n, p)."""

    @abc.abstractmethod
    def outer_values(self, coefficients, inner_values) -> np.ndarray:
        """h at the outer points, (F, m, p)."""

    @abc.abstractmethod
    def embed(self, slopes) -> np.ndarray:
        """Coefficients of Σ_i slopes_i k(x_i, ·) on the inner points, (F, N, p)."""

    def pairing(self, left, right, right_values) -> np.ndarray:
        """⟨h, g⟩_H of two coefficient arrays (F, N, p), given g's inner values: (F,).

        By default the coefficients are orthonormal coordinates.
        """
        return np.sum(left * right, (1, 2))

    def norm(self, coefficients) -> np.ndarray:
        """‖h‖_H: (F,)."""
        squares = self.pairing(coefficients, coefficients, self.values(coefficients))
        return np.sqrt(np.maximum(squares, 0.0))

    def norm_bound(self, coefficients) -> np.ndarray:
        """An upper bound on ‖h‖_H that needs no product with K: (F,)."""
        return np.linalg.norm(coefficients, axis=(1, 2))

    def accuracy(self, gradient, norms, values, curvatures, tight=False):
        """A measure of the error of h, and the size to which it is relative, (F,) each.

        By default these are a bound on ‖∇J‖_H, or ‖∇J‖_H itself if ``tight``, and ridge·‖h‖_H.
        """
        size = self.norm if tight else self.norm_bound
        return size(gradient), self.ridge * np.sqrt(np.maximum(norms, 0.0))

    def rounding(self, objective):
        """Errors, as in ``accuracy``, at which J exceeds its minimum by at most eps²·|J|."""
        mean = np.abs(objective) / self.total
        return np.finfo(float).eps * np.sqrt(2 * self.ridge * mean)

    def gradient(self, slopes, coefficients) -> np.ndarray:
        """Coefficients of ∇J = (1/Σw) Σ w_i slopes_i k(x_i, ·) + ridge h."""
        mean = self.embed(self.weights[:, :, None] * slopes) / self.total[:, None, None]
        return mean + self.ridge[:, None, None] * coefficients

    @property
    def direct(self) -> bool:
        """Whether ``solve`` is exact up to rounding, so that one step minimises a quadratic."""
        return not self.jitter

    @property
    def missing(self) -> list[int]:
        """The replicates for which ``solve`` is not prepared yet."""
        return np.flatnonzero(~self._prepared).tolist()

    def representation(self, coefficients) -> np.ndarray:
        """The representation of h that Λ holds fixed (see the space); here the coefficients."""
        return coefficients

    def factorise(self, replicates, curvatures, probabilities=None):
        """Prepare ``solve`` for the ridge systems of weighted curvatures C (F, n, p, p).

        ``replicates`` lists those that will be solved; nothing is done for those whose
        curvatures have not changed. ``probabilities`` (F, n, p) are given if C = w(diag π − ππᵀ).
        """
        compared = range(len(self.alpha)) if self.jointly else replicates
        changed = [
            f for f in compared
            if not (self._prepared[f] and np.array_equal(self._curvatures[f], curvatures[f]))
        ]
        if not changed:
            return
        if self._curvatures is None:
            self._curvatures = np.empty_like(curvatures)
        served = list(compared) if self.jointly else changed
        self._prepared[served] = False
        self._curvatures[served] = curvatures[served]
        self._prepare(list(replicates) if self.jointly else changed, curvatures, probabilities)
        self._prepared[served] = True

    @abc.abstractmethod
    def _prepare(self, replicates, curvatures, probabilities):
        """Factorise the systems of these replicates, or build their preconditioner."""

    def forget(self):
        """Discard what was prepared."""
        self._prepared[:] = False
        self.jitter = 0.0

    @abc.abstractmethod
    def solve(self, rhs, replicates=None, target=None) -> np.ndarray:
        """(α + C)⁻¹ rhs in function space, (F, N, p); zero for replicates that are not listed.

        Kernel: β with (αI + CK)β = rhs. Features: θ with (αI + ΦᵀCΦ)θ = rhs. Iterative
        systems may stop at errors of ``target`` (F,), in the norm of ``accuracy``.
        """

    def minimise(self, functional) -> np.ndarray:
        """Coefficients of argmin_h ½Σ h(x_i)ᵀC_i h(x_i) + (α/2)‖h‖² + Σ_i functional_i·h(x_i)."""
        return self.solve(-self.embed(functional))

    @abc.abstractmethod
    def adjoint(self, slopes, curvatures, tol) -> AdjointSolution:
        """a = argmin ½Σ a(x_i)ᵀC_i a(x_i) + (α/2)‖a‖² + Σw Σ_j slopes_j·a(x'_j).

        If ``curvatures`` differ from those of the present factors, a few corrections follow. The
        status says whether the relative residual is at most what ``accepted`` allows.
        """

    def adjoint_status(self, rest, rhs, tol) -> Status:
        """CONVERGED if ``accepted`` allows ‖rest‖/‖rhs‖ in every replicate."""
        allowed = accepted(tol, self.cut_short) * np.linalg.norm(rhs, axis=(1, 2))
        met = (np.linalg.norm(rest, axis=(1, 2)) <= allowed).all()
        return Status.CONVERGED if met else Status.ADJOINT_NOT_CONVERGED


class Factor(abc.ABC):
    """A factorised ridge system of one replicate.

    Attributes
    ----------
    jitter : float
    """

    jitter: float

    @abc.abstractmethod
    def solve(self, rhs, enough=0.0) -> np.ndarray:
        """System.solve for one replicate; iterations may stop at a residual norm of ``enough``."""

    def release(self):  # noqa: B027
        """Return the memory of the factor, which is about to be replaced."""


class FactoredSystem(System):
    """A factor for each replicate, kept while its curvatures stay the same."""

    def __init__(self, instance):
        super().__init__(instance)
        self._factors: dict[int, Factor] = {}

    @abc.abstractmethod
    def _factor(self, replicate, curvatures, probabilities) -> Factor:
        """The factor of one replicate's curvatures (n, p, p)."""

    def _prepare(self, replicates, curvatures, probabilities):
        for f in replicates:
            if f in self._factors:
                self._factors.pop(f).release()
            of_f = None if probabilities is None else probabilities[f]
            self._factors[f] = self._factor(f, curvatures[f], of_f)
            self.jitter = max(self.jitter, self._factors[f].jitter)

    def forget(self):
        """Discard all factors and return their memory."""
        super().forget()
        while self._factors:
            self._factors.popitem()[1].release()

    def solve(self, rhs, replicates=None, target=None):
        """(α + C)⁻¹ rhs, replicate by replicate; zero for replicates that are not listed."""
        out = np.zeros_like(rhs)
        for f in range(len(rhs)) if replicates is None else replicates:
            enough = 0.0 if target is None else self.total[f] * target[f]
            out[f] = self._factors[f].solve(rhs[f], enough)
        return out

    def _refined(self, apply, rhs, curvatures):
        """``corrected``, with new factors for these ``curvatures`` if the old ones do not do."""
        found = corrected(self.solve, apply, rhs)
        if np.linalg.norm(found[2]) > STALE * np.linalg.norm(rhs):
            self.factorise(range(len(rhs)), curvatures)
            found = corrected(self.solve, apply, rhs)
        return found


def corrected(solve, apply, rhs):
    """Solve for every replicate, and refine until apply(solution) = rhs up to rounding.

    Returns the solution, what ``apply`` returned beside its image, and the residual.
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
