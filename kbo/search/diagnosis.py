"""Diagnosis of a failed evaluation: which function has no derivative, or no curvature."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..instance import of_instance

SAMPLES = 256  # number of points at which functions of the space are evaluated
STRAIGHT = (
    "the inner loss has no curvature at any sample, as a hinge or an absolute value has none: "
    "smooth its kinks, as kbo.losses.Huber, SmoothQuantile or a squared hinge do"
)


def not_differentiable(instance) -> str:
    """Names the part of a problem whose derivative is NaN while its value is finite; "" if none.

    Losses are differentiated where every prediction is zero, which is where solvers start.
    """
    F, p, omega = instance.ridge.shape[0], instance.n_outputs, instance.omega
    inside = jnp.zeros((F, instance.inner.size, p), instance.inner.x.dtype)
    outside = jnp.zeros((F, instance.outer.size, p), instance.inner.x.dtype)
    slopes = lambda w: instance.at(w).inner_slopes(inside)  # noqa: E731
    outer = lambda w, v: instance.at(w).outer_value(v)  # noqa: E731
    tests = [
        ("inner_loss", "the prediction", instance.inner_losses, inside),
        ("inner_loss", "the prediction, the second derivative,", instance.inner_slopes, inside),
        ("inner_loss", "omega", slopes, omega),
        ("outer_loss", "the prediction", lambda v: outer(omega, v), outside),
        ("outer_loss", "omega", lambda w: outer(w, outside), omega),
        ("ridge", "omega", lambda w: instance.at(w).ridge, omega),
        ("penalty", "omega", lambda w: instance.at(w).penalty_value(), omega),
        ("space", "omega", lambda w: _values_of(instance.at(w)), omega),
    ]
    for name, variable, function, point in tests:
        if _is_broken(function, point):
            return f"{name} has a derivative in {variable} that is NaN, while its value is finite"
    return ""


@of_instance
def _curvatures(instance, values):
    return instance.inner_curvatures(values)


def is_straight(instance, result) -> bool:
    """Whether the inner loss has no curvature at the values of a result's h."""
    if instance.problem.streamed or not callable(result.inner):
        return False
    shape = instance.ridge.shape[0], instance.inner.size, instance.n_outputs
    values = np.reshape(np.asarray(result.inner(instance.inner.x)), shape)
    return not np.any(_curvatures(instance, values.astype(instance.dtype)))


def _values_of(instance):
    """Values, at some of the inner points, of functions with random coefficients."""
    start = instance.space.start(
        jax.random.key(0), instance.inner, instance.n_outputs,
        instance.ridge.shape[0],
    )
    flat, undo = ravel_pytree(start)
    drawn = undo(jax.random.normal(jax.random.key(1), flat.shape, flat.dtype))
    return instance.space.evaluate(instance.inner.x, instance.inner.x[:SAMPLES], drawn)


def _is_broken(function, point):
    """Whether a function is finite at a point but has a derivative of NaN there."""
    value, pull = jax.vjp(function, point)
    if not jnp.isfinite(value).all():
        return False
    (slope,) = pull(jnp.ones_like(value))
    return any(bool(jnp.isnan(leaf).any()) for leaf in jax.tree.leaves(slope))
