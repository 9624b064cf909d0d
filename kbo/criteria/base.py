"""Criteria φ of one kernel ridge regression: their value, and their derivative in its matrix.

With weights w, targets t, S = diag(√w) and A = αI + SKS the regression's coefficients are S A⁻¹S t.
A criterion gives ∂φ/∂A; the reverse pass goes directly from there to the kernel, in tiles.
"""

from __future__ import annotations

import abc
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import linalg
from ..hypergradients.base import Method, finish
from ..instance import of_instance
from ..needs import Needs
from ..result import Hypergradient, Status
from ..solvers import Exact
from ..solvers._newton.kernel_system import KernelSystem
from ..solvers._newton.weighted_ridge import Decoupled, SubGram
from ..solvers._newton.workspace import Workspace
from ..spaces import RKHS


class Derivative(NamedTuple):
    """∂φ/∂A = plusᵀplus − minusᵀminus + multiple·A⁻¹, and the other derivatives of φ.

    Attributes
    ----------
    plus, minus : ndarray (r, k), (s, k)
    multiple : float
    alpha : float
        ∂φ/∂α with A held fixed.
    values : ndarray (F, n, p) or None
        Predictions at which the outer loss, which may itself depend on ω, enters φ.
    """

    plus: np.ndarray
    minus: np.ndarray
    multiple: float = 0.0
    alpha: float = 0.0
    values: Any = None


def polarised(left, right):
    """Rows P, M (p, k) with PᵀP − MᵀM = Σ_p sym(left_p right_pᵀ), for columns (k, p)."""
    a, b = np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=0)
    balance = np.sqrt(np.divide(b, a, out=np.ones_like(a), where=(a > 0) & (b > 0)))
    left, right = left * balance, right / balance
    return 0.5 * (left + right).T, 0.5 * (left - right).T


@of_instance
def _given(instance, zeros):
    """The targets, (n, p), and penalty(ω)."""
    return -instance.inner_slopes(zeros)[0], instance.penalty_value()


@of_instance
def _reverse_pass(instance, cotangent, alpha_slope, gram, values):
    """∂_ω of φ through the kernel, α and the outer loss at fixed values; and of the penalty."""

    def paired(omega):
        at = instance.at(omega)
        x, weights = at.inner.x, at.inner.weight_matrix()[0]
        through_kernel = linalg.gram_pairing(at.space.kernel, x, cotangent, gram)
        through_alpha = alpha_slope * at.ridge[0] * weights.sum()
        direct = 0.0 if values is None else at.outer_value(values)
        return through_kernel + through_alpha + direct + at.penalty_value()

    return jax.grad(paired)(instance.omega)


class Regression:
    """One factorised kernel ridge regression on the k points of positive weight.

    Parameters
    ----------
    instance : Instance
    workspace : Workspace

    Attributes
    ----------
    support : ndarray (k,) of int
        The indices of these points.
    root : ndarray (k,)
        √w.
    alpha : float
    targets : ndarray (k, p)
    penalty : ndarray ()
        penalty(ω).
    dual : ndarray (k, p)
        u = A⁻¹S t.
    factor : kbo.linalg.Cholesky
        Factorisation of A.
    """

    def __init__(self, instance, workspace):
        # The outer data may have replicates or other points; the regression has none.
        if instance.outer.replicates > 1 or not instance.shared:
            instance = instance.replace(outer_data=instance.problem.inner_data)
        self._arena = workspace.arena
        system = self._system = KernelSystem(instance, workspace)
        self.alpha, weights = system.alpha[0], system.weights[0]
        self.support = np.flatnonzero(weights > 0)
        self.root = np.sqrt(weights[self.support])
        kernel = SubGram(system.lower, self.support, self._arena)
        ridge = Decoupled(kernel, weights[self.support], self.alpha, small=0.0)
        (self.factor,) = ridge.factors
        zeros = np.zeros((1, system.size, instance.n_outputs))
        self._all_targets, self.penalty = (
            np.asarray(part, float) for part in _given(instance, zeros)
        )
        self.targets = self._all_targets[self.support]
        self.dual = self.factor.solve(self.root[:, None] * self.targets)

    @cached_property
    def inverse(self) -> np.ndarray:
        """The lower triangle of A⁻¹, (k, k)."""
        return self.factor.inverse(self._arena.take(len(self.support)))

    @cached_property
    def whole_inverse(self) -> np.ndarray:
        """A⁻¹ in full, in the same memory as ``inverse``."""
        return linalg.fill_upper(self.inverse)

    def gradient(self, derivative):
        """The derivative of φ in the entries of K, for the reverse pass, and that in α."""
        k, side = len(self.support), len(self._system.lower)
        slope = self._arena.take(k)
        slope[:] = 0.0
        linalg.add_normal(slope, derivative.plus)
        linalg.add_normal(slope, derivative.minus, -1.0)
        if derivative.multiple:
            slope += derivative.multiple * self.inverse
        alpha_slope = derivative.alpha + np.trace(slope)
        # Each entry below the diagonal also stands for its mirror image above it.
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
        """The lower triangle of the whole Gram matrix, on the device."""
        return self._system.gram


class GramCriterion(Method):
    """A criterion of one kernel ridge regression, for ``minimize(problem, method=…)``.

    The regression has the inner data, RKHS and ridge of the problem. Its inner loss must be
    ½‖v − t‖², its weights without replicates and independent of ω. Value and gradient cost one
    Cholesky factorisation, the inverse from it, and at most one n³ product, however many points or
    folds are left out.
    """

    needs = Needs(
        spaces=(RKHS,), quadratic=True, single=True, still=True, solvers=(Exact,),
        remedy="use cross-validation, method=kbo.hypergradients.Implicit()",
    )

    @abc.abstractmethod
    def _value(self, regression, instance):
        """φ with the penalty, and a function () ↦ Derivative that reuses what φ needed."""

    def value(self, instance, solver=None, state=None) -> float:
        """φ(ω) with the penalty, without the cost of a gradient, from ``state`` if given."""
        workspace = state if isinstance(state, Workspace) else Workspace()
        value, _ = self._value(Regression(instance, workspace), instance)
        return value

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """φ(ω) and its gradient from one factorisation, penalty included."""
        workspace = state if isinstance(state, Workspace) else Workspace()
        regression = Regression(instance, workspace)
        value, derive = self._value(regression, instance)
        coefficients, residual = regression.solution()
        derivative = derive()
        cotangent, alpha_slope = regression.gradient(derivative)
        dtype = instance.dtype
        values = derivative.values
        grad = _reverse_pass(
            instance, np.asarray(cotangent, dtype), np.asarray(alpha_slope, dtype),
            regression.gram, None if values is None else np.asarray(values, dtype),
        )
        return finish(
            instance, solver, value, grad, coefficients, Status.CONVERGED, (residual, 0.0),
            jitter=regression.factor.jitter, state=workspace,
        )
