"""Functional implicit differentiation: inner solve, adjoint solve, one reverse pass of Λ."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..function import Function
from ..linalg import SingularSystem
from ..linalg.sharding import everywhere
from ..programs import program
from ..result import Hypergradient, Residuals, Status
from ..spaces import Frozen
from .base import Method, data_dtype, is_streamed, on_device
from .bounds import error_bound
from .streaming import streamed_reverse_pass


@program
def outer_and_slopes(problem, omega, values):
    """L at given values h(x'_j), and ∂L/∂h(x'_j), (F, m, p)."""
    instance = problem.at(omega)
    value, slopes = jax.value_and_grad(instance.outer_value)(values)
    return value + instance.penalty_value(), slopes


@program
def _reverse_pass(problem, omega, frozen, shared):
    """Λ(ω; h, a) and ∂_ω Λ(ω; h, a)."""

    def lagrangian(omega):
        instance = problem.at(omega)
        parts = instance.space.evaluations(instance.inner, instance.outer, frozen, shared)
        return instance.lagrangian(*parts)

    mesh = getattr(problem.at(omega).space, "mesh", None)
    return everywhere(jax.value_and_grad(lagrangian)(omega), mesh)


def outer_value(problem, omega, solver):
    """L(ω) alone, and the status of its inner solution."""
    try:
        solution = solver.solve(problem, omega)
    except SingularSystem:
        return np.inf, Status.SINGULAR
    h_outer = jnp.asarray(solution.h_outer, data_dtype(problem, omega))
    return float(outer_and_slopes(problem, omega, h_outer)[0]), solution.status


class Implicit(Method):
    """∇L(ω) = ∂_ω Λ(ω; h_ω, a_ω), h and a frozen: no derivative goes through a solver.

    The value is Λ itself: the errors of h and a enter L's value only through their product. Where
    the inner problem was not solved, or its residual is one of weights (networks), that product is
    not small: there it is L's value at h.

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Theorem 2.3.
    """

    def value(self, problem, omega, solver):
        """See Method: one inner solution, no adjoint."""
        value, status = outer_value(problem, omega, solver)
        return value if status.usable and np.isfinite(value) else np.inf

    def evaluate(self, problem, omega, solver, state=None) -> Hypergradient:
        """See Method."""
        dtype = data_dtype(problem, omega)
        to_device = lambda tree: on_device(tree, dtype)  # noqa: E731
        solution = solver.solve(problem, omega, state)
        problem = solution.problem
        shared = solution.shared
        h_outer = to_device(solution.h_outer)
        reached, slopes = outer_and_slopes(problem, omega, h_outer)
        adjoint = solution.adjoint(np.asarray(slopes, np.float64))
        frozen = Frozen(
            to_device(solution.coefficients), to_device(adjoint.frozen),
            to_device(solution.h_inner), h_outer,
            None if adjoint.values is None else to_device(adjoint.values),
        )
        known = frozen._replace(gram=solution.gram)
        streamed = is_streamed(problem)
        if streamed:
            value, grad = streamed_reverse_pass(problem, omega, known)
        else:
            value, grad = _reverse_pass(problem, omega, known, shared)
        grad = jax.tree.map(np.array, grad)
        status = solution.status
        value = float(value if status.ok and adjoint.met and solution.certified else reached)
        finite = np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(grad))
        if status.usable and not finite:
            status = Status.NON_FINITE
        elif status.ok and not adjoint.met:
            status = Status.ADJOINT_NOT_CONVERGED
        bound = lambda: error_bound(problem, omega, frozen, shared)  # noqa: E731
        return Hypergradient(
            value=value,
            grad=grad,
            inner=Function(problem, omega, frozen.h),
            adjoint=Function(problem, omega, to_device(adjoint.coefficients), adjoint.on_both),
            residuals=Residuals(solution.residual, adjoint.residual),
            jitter=solution.jitter,
            status=status,
            state=solution.state,
            solver=solver,
            _bound=bound if solution.certified and not streamed else None,
        )
