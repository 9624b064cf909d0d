"""L-BFGS as one compiled loop, which also returns its estimate of the inverse Hessian."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

ARMIJO = 1e-4
SHORTEST = 30  # at most so many halvings of a step
CURVED = 1e-10  # pairs with sᵀy below this share of ‖s‖‖y‖ are dropped as rounding


class Memory(NamedTuple):
    """The last pairs s = Δx, y = Δ∇f, in a ring buffer.

    Attributes
    ----------
    steps, slopes : array (memory, N)
        s and y; rows that are not yet filled are zero.
    count : array
        Number of pairs seen.
    """

    steps: jax.Array
    slopes: jax.Array
    count: jax.Array

    @classmethod
    def empty(cls, size, like):
        """Room for ``size`` pairs of vectors like ``like``."""
        zero = jnp.zeros((size, like.shape[0]), like.dtype)
        return cls(zero, zero, jnp.zeros((), jnp.int32))

    def push(self, s, y):
        """The memory with one more pair, unless the curvature along it is not positive."""
        sizes = jnp.linalg.norm(s) * jnp.linalg.norm(y)
        good = (s @ y > CURVED * sizes) & jnp.isfinite(sizes)
        row = self.count % len(self.steps)
        put = lambda ring, new: ring.at[row].set(jnp.where(good, new, ring[row]))  # noqa: E731
        return Memory(put(self.steps, s), put(self.slopes, y), self.count + good)

    def inverse_times(self, vector):
        """B⁻¹v by the two-loop recursion, started from γ = sᵀy/yᵀy of the last pair.

        With no pair yet, B⁻¹v = v.

        References
        ----------
        Nocedal, Wright (2006), Numerical Optimization, Algorithm 7.4.
        """
        size = len(self.steps)
        held = jnp.minimum(self.count, size)
        curvature = jnp.sum(self.steps * self.slopes, 1)
        inverse = jnp.where(curvature > 0, 1 / jnp.where(curvature > 0, curvature, 1), 0)
        newest = lambda k: (self.count - 1 - k) % size  # noqa: E731

        def backward(k, carry):
            q, alphas = carry
            row = newest(k)
            alpha = inverse[row] * (self.steps[row] @ q)
            return q - alpha * self.slopes[row], alphas.at[row].set(alpha)

        def forward(k, r):
            row = newest(held - 1 - k)
            beta = inverse[row] * (self.slopes[row] @ r)
            return r + (alphas[row] - beta) * self.steps[row]

        start = vector, jnp.zeros(size, vector.dtype)
        q, alphas = jax.lax.fori_loop(0, held, backward, start)
        last = newest(0)
        square = self.slopes[last] @ self.slopes[last]
        gamma = jnp.where(square > 0, curvature[last] / jnp.where(square > 0, square, 1), 1)
        return jax.lax.fori_loop(0, held, forward, gamma * q)


class Minimum(NamedTuple):
    """The point at which ``lbfgs`` ended.

    Attributes
    ----------
    x, grad : array (N,)
    value : array
    memory : Memory
    evaluations : array
        Number of evaluations of f and ∇f.
    stalled : array
        Whether the last line search found no step that lowers f.
    """

    x: jax.Array
    grad: jax.Array
    value: jax.Array
    memory: Memory
    evaluations: jax.Array
    stalled: jax.Array


def lbfgs(value_and_grad, start, memory, max_steps, tol, extra=None) -> Minimum:
    """x ← x − s B⁻¹∇f(x), with the first s of 1, ½, ¼ … to meet Armijo's test, until ‖∇f‖ ≤ tol.

    It also ends when no step lowers f, because rounding has been reached.

    Parameters
    ----------
    value_and_grad : callable
        (N,) ↦ f, ∇f.
    start : array (N,)
    memory : Memory
        Empty, or the memory of a function with a similar Hessian.
    max_steps : int
    tol : float
    extra : callable, optional
        (steps so far, x, ∇f, Memory, last ‖s‖) ↦ Memory, to add pairs besides those of the steps.
    """

    def search(carry):
        x, value, grad, memory, evaluations, k, _, length = carry
        direction = -memory.inverse_times(grad)
        slope = grad @ direction
        # Only rounding or a non-convex f gives a direction that is not a descent direction.
        steepest = ~(slope < 0)
        direction = jnp.where(steepest, -grad, direction)
        slope = jnp.where(steepest, -grad @ grad, slope)
        # Before the first pair B⁻¹ has no scale: the first step has length one.
        norm = jnp.maximum(jnp.linalg.norm(grad), jnp.finfo(x.dtype).tiny)
        first = jnp.where(memory.count == 0, 1 / norm, 1.0)
        slack = 10 * jnp.finfo(x.dtype).eps * jnp.abs(value)

        def too_long(trial):
            j, s, new, _ = trial
            enough = new <= value + ARMIJO * s * slope + slack
            return (j < SHORTEST) & ~enough

        def halve(trial):
            j, s, _, _ = trial
            return j + 1, 0.5 * s, *value_and_grad(x + 0.5 * s * direction)

        s = jnp.asarray(first, x.dtype)
        trial = jnp.zeros((), jnp.int32), s, *value_and_grad(x + s * direction)
        j, s, new, after = jax.lax.while_loop(too_long, halve, trial)
        # A change of f within the slack is progress only if the gradient becomes smaller.
        gained = (new < value) | (jnp.linalg.norm(after) < jnp.linalg.norm(grad))
        found = (j < SHORTEST) & gained & jnp.isfinite(after).all()
        step = jnp.where(found, s, 0) * direction
        after = jnp.where(found, after, grad)
        memory = memory.push(step, after - grad)
        x, length = x + step, jnp.where(found, jnp.linalg.norm(step), length)
        if extra is not None:
            memory = extra(k + 1, x, after, memory, length)
        return (
            x, jnp.where(found, new, value), after, memory, evaluations + j + 1, k + 1, found,
            length,
        )

    def going(carry):
        _, _, grad, _, _, k, found, _ = carry
        return (k < max_steps) & found & (jnp.linalg.norm(grad) > tol)

    value, grad = value_and_grad(start)
    one, yes = jnp.ones((), jnp.int32), jnp.ones((), bool)
    zero = jnp.zeros((), start.dtype)
    carry = (start, value, grad, memory, one, 0 * one, yes, zero)
    x, value, grad, memory, evaluations, _, found, _ = jax.lax.while_loop(going, search, carry)
    return Minimum(x, grad, value, memory, evaluations, ~found)
