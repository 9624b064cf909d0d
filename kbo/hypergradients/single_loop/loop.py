"""The one method that runs steppers: an evaluation is one step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ... import serial
from ...arithmetic import arrays
from ...function import Function
from ...instance import of_instance
from ...module import Module
from ...result import Cost, Hypergradient, Status
from ...solvers import Gradient
from ...solvers.coefficients import rows, start
from ..base import Method, all_finite, finish, on_device
from .sampler import Batches
from .stepper import Stepper

UNUSED = 2**31 - 1  # a tag that no step uses


class LoopState(NamedTuple):
    """Steps so far, θ (F, N), and what the stepper remembers besides."""

    steps: jax.Array
    theta: jax.Array
    memory: Any


class Typed(Module):
    """A schedule whose values have the data's dtype.

    Parameters
    ----------
    schedule : callable
    dtype : dtype
    """

    schedule: Callable = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __call__(self, count):
        """The value after ``count`` steps."""
        return jnp.asarray(self.schedule(count), self.dtype)


class Step(NamedTuple):
    """L on a batch, D, the coefficients of h, n, and what the next step starts from."""

    value: jax.Array
    direction: Any
    coefficients: Any
    size: int
    state: LoopState


class SingleLoop(Method):
    """One step of a Stepper for each evaluation; its direction D stands for ∇L.

    ``method=SOBA(…)`` means ``method=SingleLoop(SOBA(…))``.

    Parameters
    ----------
    stepper : Stepper
    """

    stepper: Stepper

    stochastic = True
    remedy = "one evaluation is one step: call it through kbo.minimize, with smaller rates"

    def __str__(self):
        return type(self.stepper).__name__

    @property
    def needs(self):
        """Those of the stepper."""
        return self.stepper.needs

    def comparable(self, solver):
        """Never: θ depends on the evaluations before."""
        return False

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """One step, from where the last one ended."""
        state = self._state(instance, solver, state)
        found = _advance(instance, state, self._numeric(instance))
        size = self.stepper.inner_size
        used = 1.0 if size is None else size / int(found.size)
        gradients, products = self.stepper.passes(1 / used)
        finite = all_finite((found.value, found.direction))
        return finish(
            instance, solver, found.value, found.direction, found.coefficients,
            Status.TRUNCATED if finite else Status.DIVERGED, (np.inf, np.inf), state=found.state,
            cost=Cost(used * gradients, used * products),
        )

    def _numeric(self, instance):
        # Rates as arrays, so that another rate is no new program.
        stepper, dtype = self.stepper, instance.dtype
        fields = {name: getattr(stepper, name) for name in stepper.__dataclass_fields__}
        schedules = {
            name: Typed(value, dtype) for name, value in fields.items() if callable(value)
        }
        return dataclasses.replace(arrays(stepper, dtype), **schedules)

    def _state(self, instance, solver, state):
        """Where this step starts from."""
        if isinstance(state, LoopState):
            return state
        self.stepper.check(instance)
        seeded = solver if isinstance(solver, Gradient) else Gradient()
        key = jax.random.split(seeded.key, 3)[0]
        return serial.like(_fresh(instance, self._numeric(instance), key), state)

    def warm_start(self, solver, state):
        """Everything: steps, θ and what the stepper remembers."""
        return state

    def function(self, instance, solver, state):
        """h of θ as the steps left it."""
        state = self._state(instance, solver, state)
        finite = bool(jnp.isfinite(state.theta).all())
        status = Status.TRUNCATED if finite else Status.DIVERGED
        undo = _layout(instance)[1]
        coefficients = on_device(undo(state.theta), instance.dtype)
        return Function(instance, coefficients), status


def as_method(method) -> Method:
    """A Method as it is; a Stepper as the SingleLoop that runs it; None as None.

    Parameters
    ----------
    method : Method, Stepper or None

    Returns
    -------
    Method or None

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(method, Stepper):
        return SingleLoop(method)
    if not (method is None or isinstance(method, Method)):
        raise TypeError(
            f"method={method!r} must be an instance such as kbo.hypergradients.Implicit()"
        )
    return method


def _layout(instance, key=None):
    """θ to start from (F, N), and the function to coefficients."""
    return rows(start(instance, jax.random.key(0) if key is None else key))


def _batches(instance, stepper, count, undo):
    unravel = ravel_pytree(instance.omega)[1]
    key = jax.random.fold_in(jax.random.key(stepper.seed), count)
    return Batches(
        instance.problem, unravel, undo, (stepper.inner_size, stepper.outer_size),
        (instance.inner.size, instance.outer.size), key,
    )


@of_instance
def _fresh(instance, stepper, key):
    theta, undo = _layout(instance, key)
    batches = _batches(instance, stepper, UNUSED, undo)
    memory = stepper.init(batches, ravel_pytree(instance.omega)[0], theta)
    return LoopState(jnp.zeros((), jnp.int32), theta, memory)


@of_instance
def _advance(instance, state, stepper):
    """One step."""
    count, theta, memory = state
    undo = _layout(instance)[1]
    batches = _batches(instance, stepper, count, undo)
    flat, unravel = ravel_pytree(instance.omega)
    direction, theta, memory = stepper.step(batches, count, flat, theta, memory)
    # A batch that no step draws: on one of its own, θ would look better than it is.
    value = batches.outer(UNUSED)(flat, theta)
    after = LoopState(count + 1, theta, memory)
    return Step(value, unravel(direction), undo(theta), batches.samples[0], after)
