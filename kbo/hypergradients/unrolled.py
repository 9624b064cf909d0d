"""Iterative differentiation (ITD): derivatives through the steps of a gradient method."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from .. import serial
from ..function import Function
from ..instance import of_instance
from ..result import Cost, Hypergradient, Status
from ..solvers import Gradient
from ..solvers._training.descent import BLOWN_UP
from ..solvers.coefficients import inner_objective, outer_objective, rows, start
from .base import PARAMETRIC, Method, finish, on_device

# A single object, so that functions compiled with it are found again.
SGD = optax.sgd(0.1)


class UnrolledState(NamedTuple):
    """θ and the state of the optimiser."""

    coefficients: Any
    optimizer: Any


class Ending(NamedTuple):
    """J at the first and at the last θ, and the largest ‖∂_θJ‖ over replicates at the last."""

    first: jax.Array
    last: jax.Array
    slope: jax.Array


@of_instance
def fresh_start(instance, optimizer, key):
    """θ = 0, or random weights of a network, with the initial state of the optimiser."""
    coefficients = start(instance, key)
    return UnrolledState(coefficients, optimizer.init(coefficients))


def take_steps(objective, optimizer, state, steps, checkpoint=False):
    """The state after ``steps`` steps θ ← θ + u(∂_θJ(θ))."""

    def step(state, _):
        grad = jax.grad(objective)(state.coefficients)
        update, memory = optimizer.update(grad, state.optimizer, state.coefficients)
        return UnrolledState(optax.apply_updates(state.coefficients, update), memory), None

    return jax.lax.scan(jax.checkpoint(step) if checkpoint else step, state, length=steps)[0]


def ending_of(instance, first, last):
    """The Ending of steps that led from the state ``first`` to the state ``last``."""
    objective = inner_objective(instance)
    value, grad = jax.value_and_grad(objective)(last.coefficients)
    slope = jnp.max(jnp.linalg.norm(rows(grad)[0], axis=1))
    return Ending(objective(first.coefficients), value, slope)


@of_instance
def _forward(instance, state, method):
    """L(ω, θ_K), the state after all steps and their Ending, without derivatives."""
    last = take_steps(
        inner_objective(instance), method.optimizer or SGD, state,
        method.warm_steps + method.steps,
    )
    value = outer_objective(instance)(last.coefficients)
    return value, last, ending_of(instance, state, last)


@of_instance
def _through(instance, state, method):
    """L(ω, θ_K), dL(ω, θ_K(ω))/dω through the last ``steps`` steps, the state and the Ending."""
    optimizer = method.optimizer or SGD
    warmed = take_steps(inner_objective(instance), optimizer, state, method.warm_steps)

    def outer(omega):
        at = instance.at(omega)
        objective = inner_objective(at)
        last = take_steps(objective, optimizer, warmed, method.steps, method.checkpoint)
        value = outer_objective(at)(last.coefficients)
        return value, (value, last)

    if method.mode == "reverse":
        grad, (value, last) = jax.grad(outer, has_aux=True)(instance.omega)
    else:
        flat, unravel = ravel_pytree(instance.omega)
        grad, (value, last) = jax.jacfwd(lambda w: outer(unravel(w)), has_aux=True)(flat)
        grad = unravel(grad)
    return value, grad, last, ending_of(instance, state, last)


class Unrolled(Method):
    """∇L ≈ dL(ω, θ_K(ω))/dω,  θ_{k+1} = θ_k + u(∂_θJ(ω, θ_k)): iterative differentiation (ITD).

    The reported value is L(ω, θ_K(ω)), and without ``warm_steps`` this is its exact gradient. For
    gradient descent with rate s on a μ-strongly convex J its distance to ∇L is O(K(1 − sμ)^K). The
    first ``warm_steps`` steps are not differentiated (truncated backpropagation).

    The method makes the steps itself: ``solver`` solves neither the inner problem nor the adjoint.
    It supplies the centres, if it chooses any, and, if it is Gradient, the seed for the first
    weights of a network (otherwise 0). ``residuals.inner`` is the largest ‖∂_θJ(ω, θ_K)‖ over
    replicates, in the coefficients. The status is TRUNCATED once all steps are made, DIVERGED if
    they blew up.

    The rate must stay below 2/‖∂²_θθJ‖. In an RKHS this Hessian contains the square of K (see
    Parametric), so that convergence is slow. The square root in Adam has no derivative at zero:
    give it eps_root. Line searches, as in optax.lbfgs, are not supported.

    Parameters
    ----------
    steps : int
        K − ``warm_steps``, the number of steps that are differentiated.
    optimizer : optax.GradientTransformation, optional
        None is optax.sgd(0.1).
    warm_steps : int
    mode : {"reverse", "forward"}
        Reverse mode stores what every step needs and costs a few evaluations of L; forward mode
        stores nothing and costs about one evaluation of L for each coordinate of ω.
    checkpoint : bool
        In reverse mode, store only θ_k of each step, and compute the step a second time.
    warm : bool
        Whether θ and the optimiser continue from one ω to the next. Values then depend on earlier
        evaluations and cannot be compared. Otherwise every ω starts from zero, or from the same
        random weights of a network.

    References
    ----------
    Franceschi et al. (2017), Forward and Reverse Gradient-Based Hyperparameter Optimization,
    Algorithms 1 and 2. Shaban et al. (2019), Truncated Back-propagation for Bilevel Optimization,
    Section 3. Grazzi et al. (2020), On the Iteration Complexity of Hypergradient Computation,
    Algorithm 1.
    """

    steps: int = eqx.field(static=True, default=20)
    optimizer: optax.GradientTransformation | None = None
    warm_steps: int = eqx.field(static=True, default=0)
    mode: str = eqx.field(static=True, default="reverse")
    checkpoint: bool = eqx.field(static=True, default=False)
    warm: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps={self.steps!r} must be at least 1")
        if self.warm_steps < 0:
            raise ValueError(f"warm_steps={self.warm_steps!r} must not be negative")
        if self.mode not in ("reverse", "forward"):
            raise ValueError(f"mode={self.mode!r} must be 'reverse' or 'forward'")
        if self.checkpoint and self.mode == "forward":
            raise ValueError(
                "checkpoint=True has no use in mode='forward', which stores no steps: leave it out"
            )

    needs = PARAMETRIC
    remedy = "raise steps or warm_steps of the method, or change its optimizer"

    def comparable(self, solver):
        """Whether every ω starts anew, which makes L(ω, θ_K(ω)) a function of ω."""
        return not self.warm

    def value(self, instance, solver):
        """L(ω, θ_K) from a fresh start, without derivatives; infinite if the steps diverged."""
        value, _, ending = _forward(instance, self._state(instance, solver, None), self)
        value = float(value)
        return value if judge(value, ending).usable else np.inf

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """L(ω, θ_K) and its gradient; with ``warm`` the steps start from ``state``."""
        state = self._state(instance, solver, state)
        value, grad, last, ending = _through(instance, state, self)
        return finish(
            instance, solver, value, grad, last.coefficients, judge(value, ending),
            (float(ending.slope), 0.0), state=last,
            cost=Cost(self.warm_steps + self.steps, self.steps),
        )

    def _state(self, instance, solver, state):
        """The state from which the steps start."""
        seeded = solver if isinstance(solver, Gradient) else Gradient()
        # The key with which Gradient draws first weights: both then train the same network.
        key = jax.random.split(seeded.key, 3)[0]
        fresh = fresh_start(instance, self.optimizer or SGD, key)
        if not self.warm:
            return fresh
        # A state of other shapes, such as kernel coefficients of part of a sample, is not used.
        return serial.like(fresh, state)

    def warm_start(self, solver, state):
        """θ and the state of the optimiser, or None if every ω starts anew."""
        return state if self.warm else None

    def function(self, instance, solver, state):
        """h after all steps once more; with ``warm`` they start where the search left θ."""
        value, last, ending = _forward(
            instance, self._state(instance, solver, state), self
        )
        coefficients = on_device(last.coefficients, instance.dtype)
        return Function(instance, coefficients), judge(value, ending)


def judge(value, ending) -> Status:
    """DIVERGED if a number is not finite or the steps have raised J by far, else TRUNCATED."""
    first, last, slope = (float(number) for number in ending)
    finite = np.isfinite([value, last, slope]).all()
    if not finite or last > first + BLOWN_UP * (1 + abs(first)):
        return Status.DIVERGED
    return Status.TRUNCATED
