"""Steps along the gradient: with Armijo's rule, and those of Optax."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from ..programs import program
from ..regularizers import Regularizer
from ..result import Status
from .base import TIGHTER, Optimizer, stationary
from .lbfgs import LBFGS
from .projected import ProximalGradient
from .proximal import ProximalStep

RATE = 1e-2  # learning rate of the default Adam


class GradientDescent(Optimizer):
    """ω ← P(ω − s∇L), s being the first of step, step·shrink, … to meet Armijo's test.

    The test of ω⁺, the next ω, is::

        L(ω⁺) ≤ L(ω) − c ∇L·(ω − ω⁺)

    Parameters
    ----------
    step : float
        The first s tried in each iteration.
    shrink : float
        In (0, 1).
    c : float
        In (0, 1).
    max_steps, tol
        As in LBFGS.

    References
    ----------
    El Khoury et al. (2025), Section 5: step 1.0, shrink ½, c = 1e-4, tol 1e-5.
    """

    step: float = 1.0
    shrink: float = 0.5
    c: float = 1e-4
    max_steps: int = 1000
    tol: float = 1e-5

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """Projected gradient descent with backtracking; see Optimizer.run."""
        value, grad = evaluate(omega)
        if not np.isfinite(value):
            return Status.NON_FINITE
        for taken in range(self.max_steps + 1):
            while stationary(omega, grad, lower, upper, self.tol):
                again = evaluate(omega, tighten=0.0)
                if again is None:
                    return Status.CONVERGED
                value, grad = again
            if taken == self.max_steps:
                return Status.STEPS_EXHAUSTED
            step = self.step
            while True:
                candidate = np.clip(omega - step * grad, lower, upper)
                if (candidate == omega).all():
                    again = evaluate(omega, tighten=TIGHTER)
                    if again is None:
                        return Status.LINE_SEARCH_FAILED
                    (value, grad), step = again, self.step
                    continue
                new_value, new_grad = evaluate(candidate)
                if new_value <= value - self.c * grad @ (omega - candidate):
                    break
                step *= self.shrink
            omega, value, grad = candidate, new_value, new_grad
            report(omega)


class Optax(Optimizer):
    """ω ← P(ω + u), u being the update of an Optax transformation, halved while L is not finite.

    The transformation sees ω and ∇L as the pytree given by the user, so that optax.masked and
    optax.multi_transform can tell its leaves apart.

    Parameters
    ----------
    transformation : optax.GradientTransformation
    max_steps, tol
        As in LBFGS.
    average : float
        In [0, 1). After its last step, ω moves once more, to the mean of the last iterates, this
        share of all. Where steps are noisy, as those of networks in training are, the mean is
        closer to the minimum than each iterate.

    References
    ----------
    Polyak, Juditsky (1992), Acceleration of Stochastic Approximation by Averaging. Rakhlin, Shamir,
    Sridharan (2012), Making Gradient Descent Optimal for Strongly Convex Stochastic Optimization:
    the mean of the last iterates.
    """

    transformation: optax.GradientTransformation
    max_steps: int = 100
    tol: float = 1e-5
    average: float = 0.0

    @property
    def comparable(self):
        """Not if the steps minimise another function than L, whose lowest value says nothing."""
        return not isinstance(self.transformation, ProximalStep)

    def __check_init__(self):
        if not 0 <= self.average < 1:
            raise ValueError(f"average={self.average!r} must be a share of the steps in [0, 1)")

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """Iterate the transformation's updates, then average; see Optimizer.run."""
        value, grad = evaluate(omega)
        if not np.isfinite(value):
            return Status.NON_FINITE
        tree = tree or jnp.asarray
        state = self.transformation.init(tree(omega))
        averaged = int(self.average * self.max_steps)
        total = np.zeros_like(omega)
        for taken in range(self.max_steps + 1):
            if taken > self.max_steps - averaged:
                total += omega
            while self.comparable and stationary(omega, grad, lower, upper, self.tol):
                again = evaluate(omega, tighten=0.0)
                if again is None:
                    return Status.CONVERGED
                grad = again[1]
            if taken == self.max_steps:
                break
            update, state = _update(self.transformation, tree(grad), state, tree(omega))
            update = np.asarray(ravel_pytree(update)[0], float)
            while True:
                candidate = np.clip(omega + update, lower, upper)
                value, new_grad = evaluate(candidate)
                if np.isfinite(value):
                    break
                update = 0.5 * update
                if (omega + update == omega).all():
                    return Status.NON_FINITE
            omega, grad = candidate, new_grad
            report(omega)
        if averaged > 1 and np.isfinite(evaluate(total / averaged)[0]):
            report(total / averaged)
        return Status.STEPS_EXHAUSTED


@program
def _update(transformation, grad, state, omega):
    """The update as one compiled program, since ω may be a network of millions of weights."""
    return transformation.update(grad, state, omega)


def default_optimizer(comparable, penalty=None) -> Optimizer:
    """LBFGS(), or ProximalGradient() for penalties that may have kinks; Adam for other values.

    Parameters
    ----------
    comparable : bool
        Whether values at two ω are comparable, without which there is no line search.
    penalty : callable, optional
        Of the problem.

    Returns
    -------
    Optimizer
    """
    if not comparable:
        return Optax(optax.adam(RATE))
    return ProximalGradient() if isinstance(penalty, Regularizer) else LBFGS()
