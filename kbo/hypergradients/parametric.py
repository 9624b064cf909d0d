"""Approximate implicit differentiation in the coefficients of h: the AID family."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..instance import of_instance
from ..result import Cost, Hypergradient, Status
from ..solvers.coefficients import inner_objective, outer_objective, rows
from ..status import warn_explained
from .base import PARAMETRIC, Method, all_finite, finish, on_device
from .implicit import outer_value
from .linear_solvers import CG, LinearSolver
from .linear_solvers.base import ACCEPTABLE, BLOWN_UP

SELECTION = (
    "the inner problem is singular or not convex at its solution: the hypergradient depends on "
    "which minimiser was found, if it exists at all; raise the ridge, or use "
    "method=kbo.hypergradients.Penalty()"
)


class ParametricState(NamedTuple):
    """The inner solver's own state, and the last v (F, N)."""

    own: Any
    v: np.ndarray | None


@of_instance
def _hypergradient(instance, coefficients, linear_solver, start, memory):
    """What of L a step along the solution of Hv = b changes beside it.

    That is L, −vᵀ∂_θJ, ∇L, v, the residuals ‖b_f − H_f v_f‖/‖b_f‖, and what was solved.
    """
    theta, undo = rows(coefficients)
    outer = lambda omega, theta: outer_objective(instance.at(omega))(undo(theta))  # noqa: E731
    inner = lambda omega: lambda theta: inner_objective(instance.at(omega))(undo(theta))  # noqa: E731
    value, (explicit, b) = jax.value_and_grad(outer, (0, 1))(instance.omega, theta)
    slope, multiply = jax.linearize(jax.grad(inner(instance.omega)), theta)
    # In float32 the squares and cotangents of a small b would be lost.
    scale = jnp.linalg.norm(b)
    scale = jnp.where(scale > 0, scale, 1)
    b = b / scale
    inverse = None
    if memory is not None:  # of all replicates as one vector
        inverse = lambda b: memory.inverse_times(b.ravel()).reshape(b.shape)  # noqa: E731
    solved = linear_solver.solve(multiply, b, None if start is None else start / scale, inverse)
    v = solved.v
    cross = jax.grad(lambda omega: jax.jvp(inner(omega), (theta,), (v,))[1])(instance.omega)
    grad = jax.tree.map(lambda direct, through: direct - scale * through, explicit, cross)
    sizes = jnp.linalg.norm(b, axis=1)
    relative = jnp.linalg.norm(solved.residual, axis=1) / jnp.where(sizes > 0, sizes, 1)
    change = -scale * jnp.sum(v * slope)
    return value, change, grad, scale * v, relative, solved.products, solved.broken, solved.met


def _judged(status, relative, met, acceptable):
    """The status of an inner solution, with that of the linear system."""
    if relative == np.inf:
        return Status.TRUNCATED
    if not relative < BLOWN_UP:
        return Status.DIVERGED
    return status if met and relative <= acceptable else Status.ADJOINT_NOT_CONVERGED


class Parametric(Method):
    """∇L ≈ ∂_ωL − ∂_ω⟨∂_θJ(ω, θ), v⟩,  ∂²_θθJ·v ≈ ∂_θL: implicit differentiation in θ (AID).

    θ are the coefficients of the inner solution, from any solver. Products with ∂²_θθJ are
    derivatives of ∂_θJ along v; the matrix is never formed (but by Direct). At the exact θ and v
    it is the gradient that Implicit computes. The error of v enters ∇L to first order.

    The conditioning is that of the coefficients. In an RKHS ∂²_θθJ = K(TK + ridge), T = wD/Σw: its
    condition number is that of the function-space system, TK + ridge, times K's. CG needs many
    more steps (100 points in R³, a Gaussian kernel, ridge 1e-2: 1140 against 17, for six digits of
    the adjoint) and float32 loses more digits. This is why Implicit is the default.

    With QuasiNewton the value is L(ω, θ) − vᵀ∂_θJ(ω, θ), in which the errors of θ and v enter as a
    product: a line search can compare values whose inner problems were solved to different ends.

    Where the linear solver meets a direction without positive curvature (CG), or finds that
    ∂²_θθJ is singular and no v solves the system (Direct), a warning says so.

    ``residuals.adjoint`` is ‖∂²_θθJ·v − ∂_θL‖/‖∂_θL‖, the worst replicate's. The status is
    CONVERGED where the linear solver met its tolerance and this is at most that or 1e-3,
    ADJOINT_NOT_CONVERGED where it is more (few steps are often the point: it does not raise),
    DIVERGED where it is 100 or more, and TRUNCATED where it is not known. No error bound is known.

    Parameters
    ----------
    linear_solver : LinearSolver
        Of kbo.hypergradients.linear_solvers: Direct, CG, LinearLBFGS, Neumann, NystromInverse,
        Shine or Identity.
    warm : bool
        Whether v starts from the last one, which a small number of steps then improves from one ω
        to the next. The hypergradient then depends on the evaluations before it; L does not.

    References
    ----------
    Pedregosa (2016), Hyperparameter Optimization with Approximate Gradient, Algorithm 1.
    Grazzi et al. (2020), On the Iteration Complexity of Hypergradient Computation, Algorithm 2.
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Section 4 (comparison).
    """

    linear_solver: LinearSolver = CG()
    warm: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not isinstance(self.linear_solver, LinearSolver):
            raise ValueError(
                f"linear_solver={self.linear_solver!r} must be one of "
                "kbo.hypergradients.linear_solvers: Direct(), CG(), LinearLBFGS(), Neumann(), "
                "NystromInverse(), Shine() or Identity()"
            )

    @property
    def needs(self):
        """One J(ω, θ), and the inner L-BFGS's estimate where the linear solver uses it."""
        if not self.linear_solver.solvers:
            return PARAMETRIC
        solvers = self.linear_solver.solvers
        return PARAMETRIC._replace(solvers=solvers, remedy=f"use linear_solver=CG() of {self}")

    @property
    def remedy(self):
        """That of the linear solver."""
        return self.linear_solver.remedy

    def within(self, tol):
        """With the linear system solved to ``tol``."""
        return dataclasses.replace(self, linear_solver=self.linear_solver.within(tol))

    def value(self, instance, solver):
        """L(ω) from one inner solution, without the linear system."""
        value, status = outer_value(instance, solver)
        return value if status.usable and np.isfinite(value) else np.inf

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """L(ω) and ∇L(ω) from an inner solution and one linear system."""
        dtype = instance.dtype
        own, v = self._parts(state)
        solution = solver.solve(instance, own)
        coefficients = on_device(solution.coefficients, dtype)
        size = sum(leaf[0].size for leaf in jax.tree.leaves(coefficients))
        fits = v is not None and v.shape[1] == size
        # As arrays, so that another number of steps is no new program.
        convert = lambda leaf: jnp.asarray(leaf, dtype if isinstance(leaf, float) else int)  # noqa: E731
        linear_solver = self.linear_solver.completed(solver.tol)
        value, change, grad, v, relative, products, broken, met = _hypergradient(
            instance, coefficients, jax.tree.map(convert, linear_solver),
            jnp.asarray(v, dtype) if fits else None, solution.memory,
        )
        corrected = solution.stationary and solution.status.ok
        if broken:
            warn_explained(SELECTION, stacklevel=2)
        v, relative = np.asarray(v), float(jnp.max(relative))
        kept = v if all_finite(v) else None
        status = solution.status
        if status.usable and kept is None:
            status = Status.DIVERGED
        elif status.completed and all_finite((value, grad)):
            allowed = max(linear_solver.tol or 0.0, ACCEPTABLE)
            status = _judged(status, relative, bool(met), allowed)
        return finish(
            instance, solver, value + change if corrected else value, grad, coefficients, status,
            (solution.residual, relative), jitter=solution.jitter,
            cost=Cost(solution.evaluations, int(products)),
            state=ParametricState(solution.state, kept) if self.warm else solution.state,
        )

    def _parts(self, state):
        """The solver's state and the start of v."""
        return state if self.warm and state is not None else (state, None)

    def warm_start(self, solver, state):
        """What the solver stores; with ``warm``, v as well."""
        own, v = self._parts(state)
        return [solver.warm_start(own), v] if self.warm else solver.warm_start(own)

    def solution_state(self, state):
        """The solver's part of the state."""
        return self._parts(state)[0]
