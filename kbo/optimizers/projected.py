"""Steps along projected gradients, in any convex set onto which one can project."""

from __future__ import annotations

from collections import deque
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..arithmetic import raveled
from ..regularizers import L1, GroupLasso, Regularizer
from ..result import Status
from .base import TIGHTER, Optimizer

DECREASE = 1e-4  # of Armijo's condition
SHORTEST, LONGEST = 1e-10, 1e10  # spectral steps
NARROWEST, NARROW = 0.1, 0.5  # bounds of the factor of a step that is too long
TRIALS = 40  # in a line search, at most
OUTSIDE = 1e-6  # relative distance of a start that counts as outside the set


class ProjectedGradient(Optimizer):
    """ω ← ω + t(P(ω − s∇L) − ω): the spectral projected gradient method in a convex set.

    P is the projection onto the set, s = ‖Δω‖²/(Δω·Δ∇L) of the last step, and t the first of 1 and
    smaller ones for which L is below the largest of the last values by Armijo's rule. A point is
    stationary if ω = P(ω − ∇L); the norm of the difference is the ``grad_norm`` of a result.

    Parameters
    ----------
    set : kbo.regularizers.Box, Simplex, Ball, …, or callable
        The convex set, whose ``prox`` is P, or P itself: a function from ω to the nearest point, of
        the same structure. For parts of ω that are not constrained P returns what it is given.
    max_steps, tol
        As in LBFGS. There are no bounds beside the set.
    memory : int
        How many of the last values a new one is compared with; 1 asks for a decrease in every step.

    References
    ----------
    Birgin, Martínez, Raydan (2000), Nonmonotone Spectral Projected Gradient Methods on Convex Sets,
    Algorithm 2.1 (SPG2).
    """

    set: Any
    max_steps: int = 200
    tol: float = 1e-6
    memory: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        if isinstance(self.set, L1 | GroupLasso):
            raise ValueError(
                f"set={type(self.set).__name__}(…) is a penalty, not a set: use it as the penalty "
                "of the problem, or in Optax(proximal_gradient(rate, regularizer))"
            )
        if not callable(self.set) or isinstance(self.set, type):
            raise ValueError(
                f"set={self.set!r} must be a set of kbo.regularizers, such as Simplex(), or a "
                "function from omega to the nearest point of a convex set"
            )
        if self.memory < 1:
            raise ValueError(f"memory={self.memory!r} must be at least 1")

    def rest(self, omega, grad, lower, upper, tree=None):
        """ω − P(ω − ∇L)."""
        return omega - self._project(omega - grad, tree)

    def _project(self, point, tree):
        at = (tree or jnp.asarray)(point)
        nearest = self.set.prox(at, 1.0) if isinstance(self.set, Regularizer) else self.set(at)
        return np.asarray(raveled(nearest)[0], float)

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """Projected gradient descent; see Optimizer.run."""
        if np.isfinite(lower).any() or np.isfinite(upper).any():
            raise ValueError(
                "ProjectedGradient has a set, and takes no bounds beside it: give kbo.regularizers."
                "Box(lower, upper) as the set, or a projection onto both"
            )
        off = np.linalg.norm(omega - self._project(omega, tree))
        if off > OUTSIDE * (1 + np.linalg.norm(omega)):
            raise ValueError(
                f"omega0 is not in the set: its projection is {off:.1e} away. Start from a point "
                "in it, or, if this is one, see that the function projects"
            )
        value, grad = evaluate(omega)
        if not np.isfinite(value):
            return Status.NON_FINITE
        recent, step = deque([value], self.memory), 1 / max(1.0, np.abs(grad).max(initial=0.0))
        for taken in range(self.max_steps + 1):
            while 0 <= np.linalg.norm(self.rest(omega, grad, lower, upper, tree)) <= self.tol:
                again = evaluate(omega, tighten=0.0)
                if again is None:
                    return Status.CONVERGED
                (value, grad), recent = again, deque(again[:1], self.memory)
            if taken == self.max_steps:
                return Status.STEPS_EXHAUSTED
            direction = self._project(omega - step * grad, tree) - omega
            found = _line(evaluate, omega, direction, grad @ direction, max(recent))
            if found is None:
                again = evaluate(omega, tighten=TIGHTER)
                if again is None:
                    return Status.LINE_SEARCH_FAILED
                (value, grad), recent = again, deque(again[:1], self.memory)
                continue
            point, value, new_grad = found
            s, y = point - omega, new_grad - grad
            product = s @ y
            step = np.clip(s @ s / product, SHORTEST, LONGEST) if product > 0 else LONGEST
            omega, grad = point, new_grad
            recent.append(value)
            report(omega)


def _line(evaluate, omega, direction, slope, highest):
    """(ω + td, L, ∇L) for the first t with L ≤ highest + c·t·slope; None if there is none."""
    t = 1.0
    for _ in range(TRIALS):
        point = omega + t * direction
        if (point == omega).all():
            return None
        value, grad = evaluate(point)
        if value <= highest + DECREASE * t * slope:
            return point, value, grad
        factor = NARROWEST
        if np.isfinite(value):  # the minimum of the parabola through the values and the slope
            bend = 2 * (value - highest - t * slope)
            factor = np.clip(-t * slope / bend if bend > 0 else NARROW, NARROWEST, NARROW)
        t *= factor
    return None
