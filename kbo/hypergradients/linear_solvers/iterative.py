"""Iterative solvers, which reduce the error with every product."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from ...linalg.lbfgs import Memory, lbfgs
from .base import UNSOLVED, LinearSolver, Solved


def _begin(multiply, b, start):
    """The start, its residual and the number of products that these took."""
    return (jnp.zeros_like(b), b, 0) if start is None else (start, b - multiply(start), 1)


def _least(tol, b):
    """The tolerance for ‖Hv − b‖/‖b‖, at least the machine epsilon."""
    eps = jnp.finfo(b.dtype).eps
    return eps if tol is None else jnp.maximum(tol, eps)


class CG(LinearSolver):
    """Conjugate gradients: ‖v_K − v‖_H ≤ 2 ((√κ − 1)/(√κ + 1))^K ‖v_0 − v‖_H.

    It takes one product per step, and one at the end for the true residual, which by rounding may
    exceed that of the recurrence. A system ends when the residual of the recurrence is at most
    ``tol``·‖b‖ or at rounding level, or when H has no curvature beyond rounding along the next
    direction (the H of a network may be indefinite).

    Parameters
    ----------
    steps : int
        The largest K.
    tol : float, optional
        None takes that of the inner solver, if it has one: v need not be more accurate than θ.

    References
    ----------
    Pedregosa (2016), Hyperparameter Optimization with Approximate Gradient, Algorithm 1.
    Grazzi et al. (2020), On the Iteration Complexity of Hypergradient Computation, Section 3.2.
    """

    steps: int = 10
    tol: float | None = None

    remedy = "raise the steps of linear_solver=CG(steps), or its tol"

    def solve(self, multiply, b, start, inverse=None):
        """v by at most ``steps`` steps of conjugate gradients; ``inverse`` is not used."""
        return self.preconditioned(multiply, b, start, lambda residual: residual)

    def preconditioned(self, multiply, b, start, inverse):
        """As ``solve(multiply, b, start)``, preconditioned by ``inverse``, an estimate of H⁻¹ > 0.

        κ is then the condition number of inverse·H.
        """
        dot = lambda u, v: jnp.sum(u * v, 1, keepdims=True)  # noqa: E731
        v, residual, begun = _begin(multiply, b, start)
        enough = _least(self.tol, b) ** 2 * dot(b, b)

        def step(carry):
            k, v, residual, direction, rho, square_left, _, largest = carry
            image = multiply(direction)
            curvature, square = dot(direction, image), dot(direction, direction)
            largest = jnp.maximum(largest, curvature / jnp.where(square > 0, square, 1))
            going = (square_left > enough) & (
                curvature > jnp.finfo(b.dtype).eps * largest * square
            )
            length = jnp.where(going, rho / jnp.where(going, curvature, 1), 0)
            v, residual = v + length * direction, residual - length * image
            towards = inverse(residual)
            after = dot(residual, towards)
            ratio = jnp.where(going, after / jnp.where(going, rho, 1), 0)
            # A system that has ended keeps a direction of zero, so that its v does not change.
            direction = jnp.where(going, towards + ratio * direction, 0)
            after, square_left = (
                jnp.where(going, size, 0) for size in (after, dot(residual, residual))
            )
            return k + 1, v, residual, direction, after, square_left, going, largest

        def unfinished(carry):
            k, _, _, _, _, square_left, going, _ = carry
            return (k < self.steps) & jnp.any(going & (square_left > enough))

        towards, square = inverse(residual), dot(residual, residual)
        first = (
            0, v, residual, towards, dot(residual, towards), square,
            jnp.ones_like(square, bool), jnp.zeros_like(square),
        )
        steps, v, left, _, _, _, going, _ = jax.lax.while_loop(unfinished, step, first)
        large = dot(left, left) > jnp.maximum(enough, UNSOLVED**2 * dot(b, b))
        broken = jnp.any(~going & large)
        met = jnp.all(dot(left, left) <= enough)
        return Solved(v, b - multiply(v), begun + steps + 1, broken, met)


class Neumann(LinearSolver):
    """v_K = s Σ_{k<K} (I − sH)^k b: ‖v_K − v‖ ≤ (1 − sμ)^K ‖v‖ for s ≤ 1/‖H‖, H ⪰ μ.

    From any other start than zero, it is the fixed-point iteration v ← v − s(Hv − b).

    Parameters
    ----------
    steps : int
        K.
    step_size : float
        s, which must be below 2/‖H‖: otherwise the series diverges.

    References
    ----------
    Lorraine, Vicol, Duvenaud (2020), Optimizing Millions of Hyperparameters by Implicit
    Differentiation, Algorithm 3. Grazzi et al. (2020), Section 3.2 (fixed point).
    """

    steps: int = 10
    step_size: float = 0.1

    remedy = (
        "Neumann's series converges for step_size below 2/‖H‖ only: lower step_size until the "
        "residual falls, then raise steps"
    )

    def solve(self, multiply, b, start, inverse=None):
        """v after ``steps`` steps; ``inverse`` is not used."""

        def step(_, carry):
            v, residual = carry
            change = self.step_size * residual
            return v + change, residual - multiply(change)

        v, residual, begun = _begin(multiply, b, start)
        v, residual = jax.lax.fori_loop(0, self.steps, step, (v, residual))
        return Solved(v, residual, begun + self.steps)


class LinearLBFGS(LinearSolver):
    """L-BFGS on ½vᵀHv − bᵀv, for all systems together.

    It takes one product per trial step. Unlike CG, it depends neither on conjugacy, which rounding
    destroys, nor on an exact line search, and it tolerates products that are not quite linear.

    Parameters
    ----------
    steps : int
        The largest number of steps.
    tol : float, optional
        Relative residual ‖Hv − b‖/‖b‖ at which it stops; None takes that of the inner solver, if it
        has one.
    memory : int
        Number of pairs of steps and gradient differences that are kept.

    References
    ----------
    Nocedal, Wright (2006), Numerical Optimization, Algorithm 7.5.
    """

    steps: int = 20
    tol: float | None = None
    memory: int = eqx.field(static=True, default=10)

    remedy = "raise the steps of linear_solver=LinearLBFGS(steps), or its tol"

    def solve(self, multiply, b, start, inverse=None):
        """v by at most ``steps`` steps of L-BFGS; ``inverse`` is not used."""

        def value_and_grad(flat):
            v = flat.reshape(b.shape)
            image = multiply(v)
            return jnp.sum(v * (0.5 * image - b)), (image - b).ravel()

        first = jnp.zeros_like(b) if start is None else start
        enough = _least(self.tol, b) * jnp.linalg.norm(b)
        found = lbfgs(
            value_and_grad, first.ravel(), Memory.empty(self.memory, b.ravel()), self.steps, enough
        )
        met = found.stalled | (jnp.linalg.norm(found.grad) <= enough)
        return Solved(
            found.x.reshape(b.shape), -found.grad.reshape(b.shape), found.evaluations, met=met
        )
