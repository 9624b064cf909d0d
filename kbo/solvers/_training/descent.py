"""A gradient method on the weights of a network as one compiled loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...instance import Instance
from ...problem import Sample
from ...result import Status

SMOOTHING = 0.9  # of gradient norms, which single batches scatter
BLOWN_UP = 10.0  # times its size at the start: an objective that grew so much is not descending


class Trained(NamedTuple):
    """Weights with what training needs to go on.

    Attributes
    ----------
    params, optimizer : pytrees
        Weights and the state of the optimiser.
    count : array
        Steps taken so far, for the draws of batches.
    scale : array
        ‖∇J‖ at the very first step, by which ``tol`` is measured.
    """

    params: Any
    optimizer: Any
    count: jax.Array
    scale: jax.Array


class Report(NamedTuple):
    """How a loop ended: last objective, smoothed ‖∇_θ J‖, whether it met tol, whether it blew up.
    """

    objective: jax.Array
    norm: jax.Array
    converged: jax.Array
    diverged: jax.Array


class Plan(eqx.Module):
    """What a loop is told.

    Attributes
    ----------
    optimizer : optax.GradientTransformation
    steps : int
    tol : float
    batch_size : int or None
    accumulate : int
    """

    optimizer: optax.GradientTransformation
    steps: int = eqx.field(static=True)
    tol: float = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    accumulate: int = eqx.field(static=True)

    def start(self, params) -> Trained:
        """Before the first step."""
        dtype = jax.tree.leaves(params)[0].dtype
        return Trained(
            params, self.optimizer.init(params), jnp.zeros((), jnp.int32), jnp.zeros((), dtype)
        )


def batch_of(instance: Instance, rows) -> Instance:
    """The instance on some rows (inner, outer) of its samples; None is all of them, or all of one.
    """
    if rows is None:
        return instance
    inner, outer = _some(instance.inner, rows[0]), _some(instance.outer, rows[1])
    return instance.with_samples(inner, outer)


def _some(sample, rows):
    if rows is None:
        return sample
    target = jax.tree.map(lambda leaf: leaf[rows], sample.target)
    return Sample(sample.x[rows], target, sample.weight_matrix()[:, rows])


def descend(objective, instance, trained: Trained, plan: Plan, key) -> tuple[Trained, Report]:
    """θ ← θ + u(∇J(θ)) until ‖∇J‖ ≤ tol·(‖∇J‖ at the very first step), or ``steps`` times.

    Parameters
    ----------
    objective : callable
        (params, rows) to J on the rows (inner, outer), None for all: an unbiased estimate of J.
    instance : Instance
        Whose samples rows are drawn from, with replacement.
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

        # One micro-batch at a time is in memory.
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
    report = Report(value, norm, finite & (norm <= plan.tol * trained.scale), diverged)
    return trained, report


def _draws(instance, plan):
    """key ↦ rows (inner, outer), (batch_size,) or (accumulate, batch_size) each."""
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


def judged(report, plan):
    """The status of a loop."""
    if bool(report.diverged):
        return Status.DIVERGED
    if plan.tol == 0:
        return Status.TRUNCATED
    return Status.CONVERGED if bool(report.converged) else Status.INNER_NOT_CONVERGED
