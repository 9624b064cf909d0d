"""L-BFGS on the coefficients of h: the inner solver of HOAG and of SHINE."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import serial
from ..instance import of_instance
from ..linalg.lbfgs import Memory, lbfgs
from ..needs import Needs
from ..result import Status
from ..spaces import Space
from .base import InnerSolution, Solver
from .coefficients import inner_objective, outer_objective, rows, start


class QuasiNewtonState(NamedTuple):
    """θ and what is known of ∂²_θθJ, as the last solve left them."""

    coefficients: Any
    memory: Memory


class QuasiNewton(Solver):
    """θ ← θ − s B⁻¹∂_θJ(ω, θ), B⁻¹ the L-BFGS estimate of (∂²_θθJ)⁻¹.

    For spaces whose h has coefficients θ: features, the span of centres, an RKHS, networks. The
    replicates are one problem. Adjoints are left to hypergradients.Parametric, with any of its
    linear solvers; ``linear_solvers.Shine`` uses the estimate B⁻¹ itself. From one ω to the next θ
    and the pairs that make B⁻¹ are kept.

    Parameters
    ----------
    max_steps : int
    tol : float
        ‖∂_θJ(θ)‖ ≤ tol·‖∂_θJ(θ₀)‖, θ₀ the first θ of all (zero, or the first weights). Where
        rounding ends the descent before, that is CONVERGED if below 1e-3.
    memory : int
        Pairs kept.
    loose : float
        In ``minimize`` the tolerance is loose·‖∇L(ω)‖/‖∇L(ω₀)‖ of the last step, no less than
        ``tol`` and no more than ``loose``: two or three times sooner with 1e-3. LBFGS tightens it
        where a line search fails, and ends at ``tol`` itself. 0 asks for tol everywhere.
    prescribe : int, optional
        Outer-problem awareness (OPA): each so many steps one more pair is made, of ∂_θJ along
        B⁻¹∂_θL, the direction in which SHINE needs B⁻¹. One gradient of J and one of L each.
    seed : int
        Of the first weights of networks.

    References
    ----------
    Pedregosa (2016), Hyperparameter Optimization with Approximate Gradient, Section 5.
    Ramzi et al. (2022), SHINE, Algorithm LBFGS with OPA.
    """

    max_steps: int = 1000
    tol: float = 1e-8
    memory: int = eqx.field(static=True, default=30)
    loose: float = 0.0
    prescribe: int | None = None
    seed: int = 0

    solves_adjoint = False
    needs = Needs(spaces=(Space,), remedy="use solver=kbo.solvers.Gradient() for NeuralFeatures")
    remedy = "raise max_steps of solver=kbo.solvers.QuasiNewton(…), or loosen its tol"

    def __check_init__(self):
        for name in ("max_steps", "memory", "prescribe"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value!r} must be at least 1")
        for name in ("tol", "loose"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must not be negative")

    def loosened(self, ratio):
        """To a looser tolerance while the gradient is still large."""
        return dataclasses.replace(self, tol=max(self.tol, self.loose * min(ratio, 1.0)))

    def within(self, tol):
        """With another relative tolerance."""
        return dataclasses.replace(self, tol=tol)

    def solve(self, instance, state=None):
        """The inner solution, and what its adjoint needs."""
        return QuasiNewtonSolution(instance, self, state)


class Found(NamedTuple):
    """What the compiled part returns."""

    state: QuasiNewtonState
    norm: jax.Array
    relative: jax.Array
    evaluations: jax.Array
    stalled: jax.Array


@of_instance
def _fresh(instance, memory, seed):
    coefficients = start(instance, jax.random.key(seed))
    flat = rows(coefficients)[0].ravel()
    return QuasiNewtonState(coefficients, Memory.empty(memory, flat))


@of_instance
def _solve(instance, fresh, state, max_steps, tol, prescribe):
    undo = rows(state.coefficients)[1]
    matrix = rows(state.coefficients)[0]
    as_coefficients = lambda flat: undo(flat.reshape(matrix.shape))  # noqa: E731
    inner, outer = inner_objective(instance), outer_objective(instance)
    of_inner = jax.value_and_grad(lambda flat: inner(as_coefficients(flat)))
    of_outer = jax.grad(lambda flat: outer(as_coefficients(flat)))

    def aware(k, x, grad, memory, length):
        def add(memory):
            direction = memory.inverse_times(of_outer(x))
            norm = jnp.linalg.norm(direction)
            e = (length / jnp.where(norm > 0, norm, 1)) * direction
            return memory.push(e, of_inner(x + e)[1] - grad)

        return jax.lax.cond(k % prescribe == 0, add, lambda memory: memory, memory)

    scale = jnp.linalg.norm(of_inner(rows(fresh)[0].ravel())[1])
    found = lbfgs(
        of_inner, matrix.ravel(), state.memory, max_steps, tol * scale,
        None if prescribe is None else aware,
    )
    state = QuasiNewtonState(as_coefficients(found.x), found.memory)
    norm = jnp.linalg.norm(found.grad)
    relative = norm / jnp.where(scale > 0, scale, 1)
    return Found(state, norm, relative, found.evaluations, found.stalled)


@of_instance
def _values(instance, coefficients):
    at = lambda x: instance.space.evaluate(instance.inner.x, x, coefficients)  # noqa: E731
    return at(instance.inner.x), at(instance.outer.x)


ROUNDED = 1e-3  # relative ‖∂_θJ‖ where rounding ends a descent: worse is an error


class QuasiNewtonSolution(InnerSolution):
    """An inner solution found by L-BFGS, in the constructor.

    Attributes
    ----------
    memory : kbo.linalg.lbfgs.Memory
        The pairs that make B⁻¹.
    evaluations : int
        Of J and ∂_θJ.
    """

    certified = False  # the residual is one of coefficients
    stationary = True
    jitter = 0.0
    gram = None

    def __init__(self, instance, solver, state):
        self.instance = instance
        fresh = _fresh(instance, solver.memory, solver.seed)
        state = serial.like(fresh, state)
        found = _solve(
            instance, fresh.coefficients, state, jnp.asarray(solver.max_steps),
            jnp.asarray(solver.tol, float), solver.prescribe and jnp.asarray(solver.prescribe),
        )
        self.state, self.coefficients = found.state, found.state.coefficients
        self.memory, self.evaluations = found.state.memory, int(found.evaluations)
        self.residual = float(found.norm)
        self.status = _judge(float(found.relative), solver.tol, bool(found.stalled))
        self.h_inner, self.h_outer = _values(instance, self.coefficients)


def _judge(relative, tol, stalled):
    if not np.isfinite(relative):
        return Status.NON_FINITE
    met = relative <= tol or (stalled and relative <= ROUNDED)
    return Status.CONVERGED if met else Status.INNER_NOT_CONVERGED
