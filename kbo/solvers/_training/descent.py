"""A gradient method on the weights of a network, as one compiled loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...instance import Instance
from ...module import Module
from ...problem import Sample
from ...result import Status

SMOOTHING = 0.9  # weight of the past in the running mean of gradient norms over batches
BLOWN_UP = 10.0  # an objective that grows by so many times its initial size has diverged


class Trained(NamedTuple):
    """Weights, with what training needs to continue.

    Attributes
    ----------
    params, optimizer : pytrees
        Weights and the state of the optimiser.
    count : array
        Number of steps so far, which determines the draw of the next batch.
    scale : array
        ‖∇J‖ at the very first step, to which ``tol`` is relative.
    """

    params: Any
    optimizer: Any
    count: jax.Array
    scale: jax.Array


class LoopReport(NamedTuple):
    """The last objective and smoothed ‖∇J‖, and whether the loop met ``tol`` or diverged."""

    objective: jax.Array
    norm: jax.Array
    converged: jax.Array
    diverged: jax.Array


class Plan(Module):
    """Settings of a training loop.

    Attributes
    ----------
    optimizer : optax.GradientTransformation
    steps : int
        The largest number of steps.
    tol : float
        Relative ‖∇J‖ at which the loop ends.
    batch_size : int or None
        None uses all rows in every step.
    accumulate : int
        Number of batches whose gradients are averaged in every step.
    """

    optimizer: optax.GradientTransformation
    steps: int = eqx.field(static=True)
    tol: float = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    accumulate: int = eqx.field(static=True)

    def start(self, params) -> Trained:
        """The state before the first step, from given weights."""
        dtype = jax.tree.leaves(params)[0].dtype
        return Trained(
            params, self.optimizer.init(params), jnp.zeros((), jnp.int32), jnp.zeros((), dtype)
        )


def batch_of(instance: Instance, rows) -> Instance:
    """The instance on ``rows`` (inner, outer) of its samples; None means all rows."""
    if rows is None:
        return instance
    inner, outer = _some(instance.inner, rows[0]), _some(instance.outer, rows[1])
    return instance.with_samples(inner, outer)


def _some(sample, rows):
    if rows is None:
        return sample
    target = jax.tree.map(lambda leaf: leaf[rows], sample.target)
    return Sample(sample.x[rows], target, sample.weight_matrix()[:, rows])


def train(objective, instance, trained: Trained, plan: Plan, key) -> tuple[Trained, LoopReport]:
    """θ ← θ + u(∇J(θ)) until ‖∇J‖ ≤ tol·(‖∇J‖ at the very first step), or ``steps`` times.

    Parameters
    ----------
    objective : callable
        (params, rows) to an unbiased estimate of J from the rows (inner, outer); None means all.
    instance : Instance
        Rows of its samples are drawn with replacement.
    trained : Trained
    plan : Plan
    key : PRNG key
    """
    optimizer = optax.with_extra_args_support(plan.optimizer)
    draws = _draws(instance, plan)

    def mean_objective(params, rows):
        if plan.accumulate == 1:
            return objective(params, rows)
        return jnp.mean(jax.lax.map(lambda own: objective(params, own), rows))

    def value_and_grad(params, rows):
        if plan.accumulate == 1:
            return jax.value_and_grad(objective)(params, rows)

        # Only one micro-batch is in memory at a time.
        def add(total, own):
            return jax.tree.map(jnp.add, total, jax.value_and_grad(objective)(params, own)), None

        dtype = jax.tree.leaves(params)[0].dtype
        zero = (jnp.zeros((), dtype), jax.tree.map(jnp.zeros_like, params))
        total = jax.lax.scan(add, zero, rows)[0]
        return jax.tree.map(lambda leaf: leaf / plan.accumulate, total)

    def step(carry):
        now, taken, first, norm, _, _ = carry
        rows = draws(jax.random.fold_in(key, now.count))
        value, grad = value_and_grad(now.params, rows)
        own = jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(grad)))
        norm = jnp.where(taken == 0, own, SMOOTHING * norm + (1 - SMOOTHING) * own)
        norm = jnp.where(plan.batch_size is None, own, norm)
        scale = jnp.where(now.count == 0, own, now.scale)
        first = jnp.where(taken == 0, value, first)
        converged = norm <= plan.tol * scale
        finite = jnp.isfinite(value) & jnp.isfinite(own)

        def move(_):
            update, state = optimizer.update(
                grad, now.optimizer, now.params, value=value, grad=grad,
                value_fn=lambda params: mean_objective(params, rows),
            )
            return optax.apply_updates(now.params, update), state

        params, state = jax.lax.cond(
            finite & ~converged, move, lambda _: (now.params, now.optimizer), None
        )
        after = Trained(params, state, now.count + 1, scale)
        return after, taken + 1, first, norm, value, jnp.where(finite, converged, True)

    def going(carry):
        return (carry[1] < plan.steps) & ~carry[5]

    dtype = trained.scale.dtype
    zero = jnp.zeros((), dtype)
    start = (trained, jnp.zeros((), jnp.int32), zero, zero, zero, jnp.zeros((), bool))
    trained, _, first, norm, value, _ = jax.lax.while_loop(going, step, start)
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    diverged = ~finite | (value > first + BLOWN_UP * (1 + jnp.abs(first)))
    report = LoopReport(value, norm, finite & (norm <= plan.tol * trained.scale), diverged)
    return trained, report


def _draws(instance, plan):
    """key ↦ rows (inner, outer), each (batch_size,) or (accumulate, batch_size); None for all."""
    if plan.batch_size is None:
        return lambda key: None
    shape = (plan.accumulate, plan.batch_size) if plan.accumulate > 1 else (plan.batch_size,)
    sizes = (instance.inner.size, instance.outer.size)

    def draw(key):
        keys = jax.random.split(key)
        return tuple(
            jax.random.randint(own, shape, 0, n) for own, n in zip(keys, sizes, strict=True)
        )

    return draw


def judged(report, plan, unmet=Status.INNER_NOT_CONVERGED):
    """The status of a loop: ``unmet`` if it missed its tolerance, TRUNCATED if it had none."""
    if bool(report.diverged):
        return Status.DIVERGED
    if plan.tol == 0:
        return Status.TRUNCATED
    return Status.CONVERGED if bool(report.converged) else unmet
