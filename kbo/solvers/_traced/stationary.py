"""The solution θ of r(θ) = 0 as a differentiable value, by the implicit function theorem.

    θ̇ = −(∂r/∂θ)⁻¹ ∂r[ṗ],   ṗ a change of anything that r depends on

In reverse mode that is one adjoint solve, a = −(∂r/∂θ)⁻ᵀ θ̄, and one reverse pass of a·r(θ), which
is the constraint of the Lagrangian Λ with θ and a frozen. Newton's steps are not differentiated.
"""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
from jax import lax

from .newton import newton


@eqx.filter_custom_jvp
def _solved(equations, *, max_newton, tol):
    return newton(equations, max_newton, tol)


@_solved.def_jvp
def _solved_jvp(primals, tangents, *, max_newton, tol):
    (equations,), (moved,) = primals, tangents
    # Called anew, so that derivatives of this derivative are right too. The factor is returned
    # beside θ, and constant: where it is used, the solve's own derivative does not need one.
    theta, factor, report = _solved(equations, max_newton=max_newton, tol=tol)
    _, change = eqx.filter_jvp(lambda own: own.residual(theta), (equations,), (moved,))
    tangent = lax.custom_linear_solve(
        lambda u: jax.jvp(equations.residual, (theta,), (u,))[1], -change,
        solve=lambda times, rhs: refined(times, partial(equations.solve, factor), rhs),
        transpose_solve=lambda times, rhs: refined(
            times, partial(equations.solve_transposed, factor), rhs
        ),
    )
    constant = jax.tree.map(lambda _: None, (factor, report))
    return (theta, factor, report), (tangent, *constant)


def refined(times, solve, rhs):
    """The solution with one refinement, for the digits that a factor, or its jitter, has cost."""
    found = solve(rhs)
    return found + solve(rhs - times(found))


def stationary(equations, max_newton, tol):
    """θ (F, N, p) with r(θ) = 0, differentiable in all that ``equations`` hold; and its Report."""
    theta, _, report = _solved(equations, max_newton=max_newton, tol=tol)
    return theta, jax.tree.map(lax.stop_gradient, report)
