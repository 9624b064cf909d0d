"""Damped Newton as one JAX program: a while loop over steps, another over their lengths."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ...result import Status
from .._newton.newton import ARMIJO, SMALLEST_STEP
from .._newton.systems import ACCEPTABLE
from .equations import Equations, Pointwise

# How a solve can end; the program returns a place in this list.
ENDINGS = (
    Status.CONVERGED, Status.INNER_NOT_CONVERGED, Status.NOT_CONVEX, Status.SINGULAR,
    Status.NON_FINITE,
)


class Report(NamedTuple):
    """How a solve ended: a place in ``ENDINGS``, ‖∇J‖_H, jitter, Newton steps."""

    ending: jax.Array
    residual: jax.Array
    jitter: jax.Array
    steps: jax.Array


class Iterate(NamedTuple):
    """h, and what has been evaluated there."""

    theta: jax.Array
    values: jax.Array
    found: Pointwise
    residual: jax.Array
    objective: jax.Array


class Progress(NamedTuple):
    """The state of the loop; the last three are (F,) arrays."""

    step: jax.Array
    at: Iterate
    error: jax.Array
    previous: jax.Array
    frozen: jax.Array


def newton(equations: Equations, max_newton, tol) -> tuple[jax.Array, Any, Report]:
    """θ with r(θ) = 0, a factor of ∂r/∂θ there, and how it went."""
    zero = jnp.zeros(
        (*equations.ridge.shape, equations.size, equations.n_outputs), equations.weights.dtype
    )
    if equations.quadratic:
        factor = equations.factorise(equations.weights)
        theta = zero - equations.solve(factor, equations.residual(zero))
        theta = theta - equations.solve(factor, equations.residual(theta))  # one refinement
        at = evaluated(equations, theta)
        return theta, factor, _report(equations, at, factor, 1, jnp.zeros((), bool))
    start = evaluated(equations, zero)
    infinite = jnp.full(equations.ridge.shape, jnp.inf, zero.dtype)
    state = Progress(
        jnp.zeros((), int), start, _error(equations, start), infinite, infinite < 0
    )
    moving = lambda state: _active(equations, state, tol)  # noqa: E731
    state = lax.while_loop(
        lambda state: (state.step < max_newton) & jnp.any(moving(state)),
        lambda state: _step(equations, state, moving(state)), state,
    )
    factor = equations.factorise(equations.curvatures(state.at.found))
    short = jnp.any(moving(state))
    return state.at.theta, factor, _report(equations, state.at, factor, state.step, short, tol)


def evaluated(equations, theta, values=None) -> Iterate:
    """All that is known at θ, whose values may be known."""
    values = equations.values(theta) if values is None else values
    found = equations.pointwise(values)
    objective = equations.objective(theta, values, found.losses)
    return Iterate(theta, values, found, equations.residual_of(theta, found.slopes), objective)


def _error(equations, at):
    """‖∇J‖_H in units of ridge·‖h‖_H, (F,)."""
    scale = equations.ridge * jnp.sqrt(jnp.maximum(
        equations.square_norm(at.theta, at.values), 0.0
    ))
    size = equations.norm(at.residual)
    some = jnp.where(scale > 0, scale, 1.0)
    return jnp.where(scale > 0, size / some, jnp.where(size > 0, jnp.inf, 0.0))


def _active(equations, state, tol):
    """Which replicates still move: above tol, and not stopped by rounding or a failed line."""
    stalled = (state.error >= 0.25 * state.previous) & (state.error <= ACCEPTABLE)
    return (state.error > tol) & ~stalled & ~state.frozen


def _step(equations, state, active) -> Progress:
    at = state.at
    factor = equations.factorise(equations.curvatures(at.found))
    direction = -equations.solve(factor, at.residual)
    change = equations.values(direction)
    slope = equations.total * equations.pairing(at.residual, direction, change)
    slack = 100 * jnp.finfo(at.objective.dtype).eps * jnp.abs(at.objective)

    def candidate(lengths):
        along = lengths[:, None, None]
        return evaluated(equations, at.theta + along * direction, at.values + along * change)

    def too_long(lengths, there):
        enough = there.objective <= at.objective + ARMIJO * lengths * slope + slack
        return (lengths > 0) & ~enough  # an objective of NaN is not enough

    def shorten(state):
        lengths, there = state
        lengths = jnp.where(too_long(lengths, there), 0.5 * lengths, lengths)
        lengths = jnp.where(lengths < SMALLEST_STEP, 0.0, lengths)
        return lengths, candidate(lengths)

    lengths = active.astype(at.theta.dtype)
    lengths, there = lax.while_loop(
        lambda state: jnp.any(too_long(*state)), shorten, (lengths, candidate(lengths))
    )
    frozen = state.frozen | (active & (lengths == 0))
    return Progress(state.step + 1, there, _error(equations, there), state.error, frozen)


def _report(equations, at, factor, steps, short, tol=0.0) -> Report:
    error = _error(equations, at)
    # If h almost vanishes, its residual is a rounding error of the loss.
    mean = jnp.abs(at.objective) / equations.total
    rounding = jnp.finfo(error.dtype).eps * jnp.sqrt(2 * equations.ridge * mean)
    solved = (error <= jnp.where(short, tol, ACCEPTABLE)) | (
        equations.norm(at.residual) <= rounding
    )
    curvatures = at.found.curvatures
    eigenvalues = curvatures if curvatures.shape[-1] == 1 else jnp.linalg.eigvalsh(curvatures)
    negligible = jnp.sqrt(jnp.finfo(curvatures.dtype).eps)
    used = equations.weights[:, :, None] > 0
    lowest = jnp.min(jnp.where(used, eigenvalues.reshape(*used.shape[:2], -1), 0.0))
    # In the order of ENDINGS; a later one explains an earlier one.
    faults = [
        ~jnp.all(solved),
        (lowest < -negligible * jnp.max(jnp.abs(curvatures))) | jnp.any(equations.weights < 0),
        ~jnp.all(factor.finite & (equations.ridge > 0)),
        ~jnp.all(jnp.isfinite(equations.ridge) & jnp.isfinite(equations.total)),
    ]
    # A system of finite numbers that has no factor is singular; what follows from it is not finite.
    faults[2] &= ~faults[3]
    unknown = ~(jnp.all(jnp.isfinite(at.theta)) & jnp.all(jnp.isfinite(error)))
    faults[3] |= unknown & ~faults[2] & ~faults[1]  # where J has no minimum, numbers overflow
    ending = jnp.zeros((), int)
    for place, fault in enumerate(faults, 1):
        ending = jnp.where(fault, place, ending)
    return Report(
        ending, jnp.max(equations.norm(at.residual)), jnp.max(factor.jitter),
        jnp.asarray(steps),
    )
