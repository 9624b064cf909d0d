"""Functional implicit differentiation: inner solve, adjoint solve, one reverse pass of Λ."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..function import Function
from ..instance import of_instance
from ..linalg import SingularSystem
from ..linalg.sharding import everywhere
from ..needs import ANY, Needs
from ..result import Hypergradient, Status
from ..spaces import Frozen
from .base import Method, finish, on_device
from .bounds import error_bound
from .fused import fused
from .streaming import streamed_reverse_pass


@of_instance
def outer_and_slopes(instance, values):
    """L at given values h(x'_j), and ∂L/∂h(x'_j), (F, m, p)."""
    value, slopes = jax.value_and_grad(instance.outer_value)(values)
    return value + instance.penalty_value(), slopes


@of_instance
def _reverse_pass(instance, frozen, shared):
    """Λ(ω; h, a) and ∂_ω Λ(ω; h, a)."""

    def lagrangian(omega):
        at = instance.at(omega)
        return at.lagrangian(*at.space.evaluations(at.inner, at.outer, frozen, shared))

    return everywhere(jax.value_and_grad(lagrangian)(instance.omega), instance.space.mesh)


def outer_value(instance, solver):
    """L(ω) alone, and the status of its inner solution."""
    try:
        solution = solver.solve(instance)
    except SingularSystem:
        return np.inf, Status.SINGULAR
    h_outer = jnp.asarray(solution.h_outer, instance.dtype)
    return float(outer_and_slopes(instance, h_outer)[0]), solution.status


class Implicit(Method):
    """∇L(ω) = ∂_ω Λ(ω; h_ω, a_ω), h and a frozen: no derivative goes through a solver.

    The value is Λ itself: the errors of h and a enter L's value in second order only. If the
    inner problem was not solved, or if its residual is a gradient in weights (networks), these
    errors may be large: the value is then L at h.

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Theorem 2.3.
    """

    needs = Needs(
        spaces=ANY, memory=False, adjoint=True,
        remedy="use method=kbo.hypergradients.Parametric(), or solver=kbo.solvers.Exact()",
    )

    def value(self, instance, solver):
        """L(ω) from one inner solution, without the adjoint."""
        value, status = outer_value(instance, solver)
        return value if status.usable and np.isfinite(value) else np.inf

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """L(ω) and ∇L(ω) from an inner solution and its adjoint."""
        found = fused(instance, solver)
        if found is not None:
            return finish(
                instance, solver, found.value, found.grad, found.frozen.h, Status.CONVERGED,
                tuple(map(float, found.residuals)), state=state,
                adjoint=Function(instance, found.adjoint, not instance.shared),
                _bound=lambda: error_bound(instance, found.frozen, instance.shared),
            )
        solution = solver.solve(instance, state)
        instance, shared = solution.instance, solution.instance.shared
        h, h_inner, h_outer = on_device(
            (solution.coefficients, solution.h_inner, solution.h_outer), instance.dtype
        )
        reached, slopes = outer_and_slopes(instance, h_outer)
        adjoint = solution.adjoint(np.asarray(slopes, np.float64))
        a, a_inner, a_coefficients = on_device(
            (adjoint.frozen, adjoint.values, adjoint.coefficients), instance.dtype
        )
        frozen = Frozen(h, a, h_inner, h_outer, a_inner)
        known = frozen._replace(gram=solution.gram)
        streamed = instance.problem.streamed
        if streamed:
            value, grad = streamed_reverse_pass(instance, known)
        else:
            value, grad = _reverse_pass(instance, known, shared)
        status = Status.of_all(solution.status, adjoint.status)
        if status is Status.HELD and any(np.any(leaf) for leaf in jax.tree.leaves(grad)):
            status = Status.CONVERGED  # h moves with its constraints, or L has other parts
        certified = solution.certified and status.ok
        bound = lambda: error_bound(instance, frozen, shared)  # noqa: E731
        return finish(
            instance, solver, value if certified else reached, grad, frozen.h, status,
            (solution.residual, adjoint.residual), jitter=solution.jitter, state=solution.state,
            adjoint=Function(instance, a_coefficients, adjoint.on_both),
            _bound=bound if solution.certified and not streamed else None,
        )
