"""Methods in which θ, and what stands for the adjoint, move along with ω."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ... import losses, serial
from ...arithmetic import arrays
from ...function import Function
from ...instance import of_instance
from ...result import Cost, Hypergradient, Status
from ...solvers import Gradient
from ...solvers.coefficients import rows, start
from ...spaces import RKHS
from ..base import Method, all_finite, check_parametric, finish, on_device
from .sampler import Batches

UNUSED = 2**31 - 1  # a tag that no step uses


class LoopState(NamedTuple):
    """Steps so far, θ (F, N), and what the method remembers besides."""

    steps: jax.Array
    theta: jax.Array
    memory: Any


class Typed(eqx.Module):
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
    """Base class: one evaluation is one step of θ and of what the method remembers.

    The gradient is the method's direction D for ω; use kbo.optimizers.Optax(optax.sgd(rate)), whose
    step then is the published one, and find the last iterate returned: values of L at a θ that
    moves do not compare. h of the result is that of θ as it was left.

    Parameters
    ----------
    rate : float or callable
        Of θ; a callable, as an Optax schedule, of the number of steps so far.
    inner_size, outer_size : int, optional
        Rows of each batch, drawn with replacement; None is the whole sample.
    seed : int
        Of the batches: the k-th step draws the same rows in every run. (A network's first weights
        are drawn by the seed of solver=kbo.solvers.Gradient.)
    """

    rate: float | Callable = 0.1
    inner_size: int | None = eqx.field(static=True, default=None)
    outer_size: int | None = eqx.field(static=True, default=None)
    seed: int = eqx.field(static=True, default=0)

    stochastic = True
    remedy = "one evaluation is one step: call it through kbo.minimize, with smaller rates"

    def __check_init__(self):
        for name in ("inner_size", "outer_size"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name}={size!r} must be at least 1, or None")
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name.endswith("rate") and isinstance(value, int | float) and not value > 0:
                raise ValueError(f"{name}={value!r} must be positive")
            if name in ("steps", "adjoint_steps", "terms", "period") and value < 1:
                raise ValueError(f"{name}={value!r} must be at least 1")
            number = isinstance(value, int | float)
            if name in ("multiplier", "barrier", "momentum") and number and not value > 0:
                raise ValueError(f"{name}={value!r} must be positive")
            if name == "momentum" and number and value > 1:
                raise ValueError(f"momentum={value!r} must not be above 1, which is none")

    @abc.abstractmethod
    def start(self, batches: Batches, omega, theta):
        """What is remembered before the first step, a pytree of arrays."""

    @abc.abstractmethod
    def step(self, batches: Batches, count, omega, theta, memory):
        """(D (q,), θ, memory) after one step."""

    @abc.abstractmethod
    def passes(self, blocks) -> tuple[float, float]:
        """Gradients of J, and products with its second derivatives, of one step.

        In batches, of which the inner sample has ``blocks``.
        """

    def check(self, problem, batches):
        """Refuse what the method cannot work on."""

    def comparable(self, solver):
        """See Method: θ depends on the evaluations before."""
        return False

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """See Method.

        Raises
        ------
        ValueError
            If points are a kbo.Stream, the space is NeuralFeatures, or batches are asked for of
            an RKHS, where θ belongs to the points, or of a loss of all predictions at once.
        """
        state = self._state(instance, solver, state)
        found = _advance(instance, state, self._numeric(instance))
        used = 1.0 if self.inner_size is None else self.inner_size / int(found.size)
        gradients, products = self.passes(1 / used)
        finite = all_finite((found.value, found.direction))
        return finish(
            instance, solver, found.value, found.direction, found.coefficients,
            Status.TRUNCATED if finite else Status.DIVERGED, (np.inf, np.inf), state=found.state,
            cost=Cost(used * gradients, used * products),
        )

    def _numeric(self, instance):
        # Rates as arrays, so that another rate is no new program.
        dtype = instance.dtype
        schedules = {
            name: Typed(getattr(self, name), dtype) for name in self.__dataclass_fields__
            if callable(getattr(self, name))
        }
        return dataclasses.replace(arrays(self, dtype), **schedules)

    def _state(self, instance, solver, state):
        """Where this step starts from."""
        if isinstance(state, LoopState):
            return state
        check_parametric(instance, self)
        space = instance.space
        if self.inner_size is not None and isinstance(space, RKHS):
            raise ValueError(
                "inner_size: the coefficients of h belong to all the inner points; use "
                "solver=kbo.solvers.Nystrom(M), or a FeatureSpace, or inner_size=None"
            )
        if self.outer_size is not None and isinstance(instance.problem.outer_loss, losses.Joint):
            raise ValueError(
                f"outer_size: outer_loss={type(instance.problem.outer_loss).__name__} needs all "
                "predictions at once; use outer_size=None"
            )
        seeded = solver if isinstance(solver, Gradient) else Gradient()
        key = jax.random.split(seeded.key, 3)[0]
        self.check(instance.problem, instance)
        fresh = _fresh(instance, self._numeric(instance), key)
        return serial.like(fresh, state)

    def warm_start(self, solver, state):
        """See Method: everything."""
        return state

    def function(self, instance, solver, state):
        """See Method: h of θ as the steps left it."""
        state = self._state(instance, solver, state)
        finite = bool(jnp.isfinite(state.theta).all())
        status = Status.TRUNCATED if finite else Status.DIVERGED
        undo = _layout(instance)[1]
        coefficients = on_device(undo(state.theta), instance.dtype)
        return Function(instance, coefficients), status


def now(rate, count):
    """A rate or schedule after ``count`` steps."""
    return rate(count) if callable(rate) else rate


def _layout(instance, key=None):
    """θ to start from (F, N), and the function to coefficients."""
    return rows(start(instance, jax.random.key(0) if key is None else key))


def _batches(instance, method, count, undo):
    unravel = ravel_pytree(instance.omega)[1]
    key = jax.random.fold_in(jax.random.key(method.seed), count)
    return Batches(
        instance.problem, unravel, undo, (method.inner_size, method.outer_size),
        (instance.inner.size, instance.outer.size), key,
    )


@of_instance
def _fresh(instance, method, key):
    theta, undo = _layout(instance, key)
    batches = _batches(instance, method, UNUSED, undo)
    memory = method.start(batches, ravel_pytree(instance.omega)[0], theta)
    return LoopState(jnp.zeros((), jnp.int32), theta, memory)


@of_instance
def _advance(instance, state, method):
    """One step."""
    count, theta, memory = state
    undo = _layout(instance)[1]
    batches = _batches(instance, method, count, undo)
    flat, unravel = ravel_pytree(instance.omega)
    direction, theta, memory = method.step(batches, count, flat, theta, memory)
    # A batch that no step draws: on one of its own, θ would look better than it is.
    value = batches.outer(UNUSED)(flat, theta)
    after = LoopState(count + 1, theta, memory)
    return Step(value, unravel(direction), undo(theta), batches.samples[0], after)
