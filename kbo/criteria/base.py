"""Criteria that are functions of one kernel ridge regression: value, and derivative in its matrix.

With weights w, targets t, S = diag(√w) and A = αI + SKS the regression's coefficients are S A⁻¹S t.
A criterion gives ∂φ/∂A; the reverse pass goes from there straight to the kernel, in tiles.
"""

from __future__ import annotations

import abc
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import linalg
from ..function import Function
from ..hypergradients.base import Method, data_dtype
from ..losses import Loss
from ..programs import program
from ..result import Hypergradient, Residuals, Status
from ..solvers import Exact
from ..solvers.kernel_system import KernelSystem
from ..solvers.weighted_ridge import Decoupled, SubGram
from ..solvers.workspace import Workspace
from ..spaces import RKHS


class Derivative(NamedTuple):
    """∂φ/∂A = plusᵀplus − minusᵀminus + multiple·A⁻¹, and what moves besides A.

    Attributes
    ----------
    plus, minus : ndarray (r, k), (s, k)
    multiple : float
    alpha : float
        ∂φ/∂α with A held.
    values : ndarray (F, n, p) or None
        Predictions at which the outer loss, a function of ω itself, enters φ.
    """

    plus: np.ndarray
    minus: np.ndarray
    multiple: float = 0.0
    alpha: float = 0.0
    values: Any = None


def polarised(left, right):
    """Rows P, M (p, k) with PᵀP − MᵀM = Σ_p sym(left_p right_pᵀ), from columns (k, p)."""
    a, b = np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=0)
    balance = np.sqrt(np.divide(b, a, out=np.ones_like(a), where=(a > 0) & (b > 0)))
    left, right = left * balance, right / balance
    return 0.5 * (left + right).T, 0.5 * (left - right).T


@program
def _targets(problem, omega, zeros):
    return -problem.at(omega).inner_slopes(zeros)[0]


@program
def penalty(problem, omega):
    """penalty(ω)."""
    return problem.at(omega).penalty_value()


@program
def _reverse_pass(problem, omega, cotangent, alpha_slope, gram, values):
    """∂_ω of φ, through the kernel, α, and at fixed values the outer loss; and of the penalty."""

    def paired(omega):
        instance = problem.at(omega)
        x, weights = instance.inner.x, instance.inner.weight_matrix()[0]
        through_kernel = linalg.gram_pairing(instance.space.kernel, x, cotangent, gram)
        through_alpha = alpha_slope * instance.ridge[0] * weights.sum()
        direct = 0.0 if values is None else instance.outer_value(values)
        return through_kernel + through_alpha + direct + instance.penalty_value()

    return jax.grad(paired)(omega)


class Regression:
    """One factorised kernel ridge regression, on the k points of positive weight.

    Parameters
    ----------
    problem, omega
    workspace : Workspace

    Attributes
    ----------
    support : ndarray (k,) of int
        Which points.
    root : ndarray (k,)
        √w.
    alpha : float
    targets : ndarray (k, p)
    dual : ndarray (k, p)
        u = A⁻¹S t.
    factor : kbo.linalg.Cholesky
        Of A.
    """

    def __init__(self, problem, omega, workspace):
        # The outer data have replicates of their own at times; the regression has none.
        self._problem, self._omega = problem.replace(outer_data=problem.inner_data), omega
        self._arena = workspace.arena
        system = self._system = KernelSystem(self._problem, omega, True, workspace)
        self.alpha, weights = system.alpha[0], system.weights[0]
        self.support = np.flatnonzero(weights > 0)
        self.root = np.sqrt(weights[self.support])
        kernel = SubGram(system.lower, self.support, self._arena)
        ridge = Decoupled(kernel, weights[self.support], self.alpha, small=0.0)
        (self.factor,) = ridge.factors
        zeros = np.zeros((1, system.size, problem.n_outputs or 1))
        self._all_targets = np.asarray(_targets(self._problem, omega, zeros), float)
        self.targets = self._all_targets[self.support]
        self.dual = self.factor.solve(self.root[:, None] * self.targets)

    @cached_property
    def inverse(self) -> np.ndarray:
        """The lower triangle of A⁻¹, (k, k)."""
        return self.factor.inverse(self._arena.take(len(self.support)))

    @cached_property
    def whole_inverse(self) -> np.ndarray:
        """A⁻¹ in full: the same memory, filled."""
        return linalg.fill_upper(self.inverse)

    def gradient(self, derivative):
        """∂_ω φ, penalty included."""
        k, side = len(self.support), len(self._system.lower)
        slope = self._arena.take(k)
        slope[:] = 0.0
        linalg.add_normal(slope, derivative.plus)
        linalg.add_normal(slope, derivative.minus, -1.0)
        if derivative.multiple:
            slope += derivative.multiple * self.inverse
        alpha_slope = derivative.alpha + np.trace(slope)
        # Entries below the diagonal stand for those above it as well.
        slope *= 2 * self.root[:, None]
        slope *= self.root
        slope.flat[:: k + 1] *= 0.5
        cotangent = slope
        if k < side:
            cotangent = np.zeros((side, side))
            contiguous = self.support[-1] - self.support[0] == k - 1
            first = self.support[0]
            corner = (slice(first, first + k),) * 2 if contiguous else np.ix_(*[self.support] * 2)
            cotangent[corner] = slope
        return cotangent, alpha_slope

    def solution(self):
        """Coefficients (1, n, p) of h, and a bound on ‖∇J(h)‖_H."""
        coefficients = np.zeros((1, *self._all_targets.shape))
        coefficients[0, self.support] = self.root[:, None] * self.dual
        slopes = self._system.values(coefficients) - self._all_targets
        residual = self._system.norm_bound(self._system.gradient(slopes, coefficients))
        return coefficients, float(residual[0])

    @property
    def gram(self):
        """The whole Gram matrix's lower triangle, on the device."""
        return self._system.gram


class GramCriterion(Method):
    """A criterion of one kernel ridge regression, for ``minimize(problem, omega, method=…)``.

    Regression means: inner data, RKHS and ridge of the problem, with the inner loss ½‖v − t‖², and
    weights without replicates that do not depend on ω. The value and gradient cost one Cholesky
    factorisation, the inverse from it, and one n³ product at most, however many points or folds
    are left out.
    """

    @abc.abstractmethod
    def _value(self, regression, problem, omega):
        """φ with the penalty, and a function () ↦ Derivative from what φ needed."""

    def value(self, problem, omega, solver=None, state=None) -> float:
        """See Method: without the cost of a gradient."""
        self._check(problem, omega)
        workspace = state if isinstance(state, Workspace) else Workspace()
        value, _ = self._value(Regression(problem, omega, workspace), problem, omega)
        return value

    def evaluate(self, problem, omega, solver, state=None) -> Hypergradient:
        """See Method.

        Raises
        ------
        ValueError
            If the problem is not such a regression, or the solver is not Exact.
        """
        if not isinstance(solver, Exact):
            raise ValueError(f"{type(self).__name__} needs solver=Exact(), not {solver}")
        self._check(problem, omega)
        workspace = state if isinstance(state, Workspace) else Workspace()
        regression = Regression(problem, omega, workspace)
        value, derive = self._value(regression, problem, omega)
        coefficients, residual = regression.solution()
        derivative = derive()
        cotangent, alpha_slope = regression.gradient(derivative)
        dtype = data_dtype(problem, omega)
        values = derivative.values
        grad = _reverse_pass(
            problem, omega, np.asarray(cotangent, dtype), np.asarray(alpha_slope, dtype),
            regression.gram, None if values is None else np.asarray(values, dtype),
        )
        grad = jax.tree.map(np.array, grad)
        finite = np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(grad))
        return Hypergradient(
            value=value, grad=grad, adjoint=None,
            inner=Function(problem, omega, np.asarray(coefficients, dtype)),
            residuals=Residuals(residual, 0.0), jitter=regression.factor.jitter,
            status=Status.CONVERGED if finite else Status.NON_FINITE,
            state=workspace, solver=solver,
        )

    def _check(self, problem, omega):
        name = type(self).__name__
        loss = problem.inner_loss
        if not (isinstance(loss, Loss) and loss.constant_curvature):
            raise ValueError(f"{name} has a closed form for inner_loss=kbo.losses.Squared() only")
        if callable(problem.inner_data):
            raise ValueError(f"{name} needs inner_data that do not depend on omega")
        space = problem.space(omega) if callable(problem.space) else problem.space
        if not isinstance(space, RKHS):
            raise ValueError(f"{name} needs space=RKHS(kernel), not {type(space).__name__}")
        if problem.inner_data.weight_matrix().shape[0] != 1 or problem.at(omega).ridge.ndim != 1:
            raise ValueError(f"{name} needs inner weights of shape (n,): it makes the folds itself")
