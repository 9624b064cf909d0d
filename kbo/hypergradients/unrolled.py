"""Differentiation through the steps of a gradient method: ITD."""

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
from .base import Method, check_parametric, finish, on_device

# One object, so that what was compiled with it is found again.
SGD = optax.sgd(0.1)


class UnrolledState(NamedTuple):
    """θ and the optimiser's state, as the last steps left them."""

    coefficients: Any
    optimizer: Any


class Ending(NamedTuple):
    """J at the first and the last θ, and ‖∂_θJ‖ of the worst replicate at the last."""

    first: jax.Array
    last: jax.Array
    slope: jax.Array


@of_instance
def fresh_start(instance, optimizer, key):
    """Zero, or the first weights of a network, and an optimiser that has seen nothing."""
    coefficients = start(instance, key)
    return UnrolledState(coefficients, optimizer.init(coefficients))


def descend(objective, optimizer, state, steps, checkpoint=False):
    """``steps`` steps of θ ← θ + u(∂_θJ(θ))."""

    def step(state, _):
        grad = jax.grad(objective)(state.coefficients)
        update, memory = optimizer.update(grad, state.optimizer, state.coefficients)
        return UnrolledState(optax.apply_updates(state.coefficients, update), memory), None

    return jax.lax.scan(jax.checkpoint(step) if checkpoint else step, state, length=steps)[0]


def ending_of(instance, first, last):
    """How steps from one state to another ended."""
    objective = inner_objective(instance)
    value, grad = jax.value_and_grad(objective)(last.coefficients)
    slope = jnp.max(jnp.linalg.norm(rows(grad)[0], axis=1))
    return Ending(objective(first.coefficients), value, slope)


@of_instance
def _forward(instance, state, method):
    """L(ω, θ_K), the state after all steps and how they ended; no derivative."""
    last = descend(
        inner_objective(instance), method.optimizer or SGD, state,
        method.warm_steps + method.steps,
    )
    value = outer_objective(instance)(last.coefficients)
    return value, last, ending_of(instance, state, last)


@of_instance
def _through(instance, state, method):
    """The same and dL(ω, θ_K(ω))/dω through the last ``steps`` steps."""
    optimizer = method.optimizer or SGD
    warmed = descend(inner_objective(instance), optimizer, state, method.warm_steps)

    def outer(omega):
        at = instance.at(omega)
        objective = inner_objective(at)
        last = descend(objective, optimizer, warmed, method.steps, method.checkpoint)
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

    It is the exact gradient of ω ↦ L(ω, θ_K(ω)), the value that it reports, and for gradient
    descent on a strongly convex J nears ∇L like K(1 − sμ)^K. ``warm_steps`` steps without
    derivative come first: truncated backpropagation.

    It trains by itself. Of ``solver`` it uses the centres, if that chooses some, and the seed, if
    that is Gradient (else 0), which draws a network's first weights; solves and adjoints are not
    asked for. ``residuals.inner`` is ‖∂_θJ(ω, θ_K)‖ in the coefficients, the worst replicate's; the
    status is TRUNCATED once the steps are done, DIVERGED where they blew up.

    Rates s must stay below 2/‖∂²_θθJ‖, which in an RKHS is K's square (see Parametric): there many
    steps do little. Adam's root has no derivative at zero: give it eps_root. Line searches, as in
    optax.lbfgs, are not supported.

    Parameters
    ----------
    steps : int
        K − ``warm_steps``, those that are differentiated.
    optimizer : optax.GradientTransformation, optional
        None is optax.sgd(0.1).
    warm_steps : int
    mode : {"reverse", "forward"}
        Reverse keeps what every step needs, and costs a few times L; forward keeps nothing, and
        costs L once per coordinate of ω.
    checkpoint : bool
        Reverse keeps θ_k alone of each step and computes the step again.
    warm : bool
        From one ω to the next θ, and the optimiser, go on where they were. Values then depend on
        the evaluations before, and no longer compare. Otherwise each ω starts anew, from zero or
        from the same draw of a network.

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
            raise ValueError("checkpoint=True saves nothing in mode='forward', which keeps nothing")

    remedy = "raise steps or warm_steps of the method, or change its optimizer"

    def comparable(self, solver):
        """See Method: where each ω starts anew, L(ω, θ_K(ω)) is a function of ω."""
        return not self.warm

    def value(self, instance, solver):
        """See Method: from the first start, no derivative."""
        value, _, ending = _forward(instance, self._state(instance, solver, None), self)
        value = float(value)
        return value if judge(value, ending).usable else np.inf

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """See Method.

        Raises
        ------
        ValueError
            If points are a kbo.Stream, or the space is NeuralFeatures.
        """
        state = self._state(instance, solver, state)
        value, grad, last, ending = _through(instance, state, self)
        return finish(
            instance, solver, value, grad, last.coefficients, judge(value, ending),
            (float(ending.slope), 0.0), state=last,
            cost=Cost(self.warm_steps + self.steps, self.steps),
        )

    def _state(self, instance, solver, state):
        """Where the steps start from."""
        check_parametric(instance, self)
        seeded = solver if isinstance(solver, Gradient) else Gradient()
        # The key of Gradient's own first weights: both train the same network.
        key = jax.random.split(seeded.key, 3)[0]
        fresh = fresh_start(instance, self.optimizer or SGD, key)
        if not self.warm:
            return fresh
        # Kernel coefficients of part of a sample do not fit the whole of it.
        return serial.like(fresh, state)

    def warm_start(self, solver, state):
        """See Method: θ and the optimiser."""
        return state if self.warm else None

    def function(self, instance, solver, state):
        """See Method: after all steps once more; with ``warm`` from where the search left θ."""
        value, last, ending = _forward(
            instance, self._state(instance, solver, state), self
        )
        coefficients = on_device(last.coefficients, instance.dtype)
        return Function(instance, coefficients), judge(value, ending)


def judge(value, ending) -> Status:
    """Steps that raised J by far have blown up, though it be finite."""
    first, last, slope = (float(number) for number in ending)
    finite = np.isfinite([value, last, slope]).all()
    if not finite or last > first + BLOWN_UP * (1 + abs(first)):
        return Status.DIVERGED
    return Status.TRUNCATED
