"""Steps along projected or proximal gradients, of lengths that fit the curvature."""

from __future__ import annotations

import abc
import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
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


class Spectral(Optimizer):
    """ω ← ω + t(prox_{sR}(ω − s∇f) − ω) for L = f + R, with s = ‖Δω‖²/(Δω·Δ∇f) of the last step."""

    if TYPE_CHECKING:  # fields of the subclasses, after those that have no default
        max_steps: int
        tol: float
        memory: int

    @abc.abstractmethod
    def _nearest(self, point, step, tree):
        """prox_{step·R} of a point (q,)."""

    def _rough(self, omega, tree):
        """R(ω) and ∇R(ω), as far as L and ∇L contain them."""
        return 0.0, 0.0

    def _check_start(self, omega, tree):
        """Refuse a start from which there is no way."""

    @abc.abstractmethod
    def _check_bounds(self):
        """Refuse bounds unless a proximal step that is clipped to them is that of both."""

    def rest(self, omega, grad, lower, upper, tree=None):
        """ω − prox_R(ω − ∇f)."""
        smooth = grad - self._rough(omega, tree)[1]
        return omega - np.clip(self._nearest(omega - smooth, 1.0, tree), lower, upper)

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """Spectral proximal gradient steps; see Optimizer.run."""
        if np.isfinite(lower).any() or np.isfinite(upper).any():
            self._check_bounds()
        self._check_start(omega, tree)
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
            rough, slope_of_rough = self._rough(omega, tree)
            smooth = grad - slope_of_rough
            nearest = self._nearest(omega - step * smooth, step, tree)
            direction = np.clip(nearest, lower, upper) - omega
            promised = smooth @ direction + self._rough(omega + direction, tree)[0] - rough
            found = _line(evaluate, omega, direction, promised, max(recent))
            if found is None:
                again = evaluate(omega, tighten=TIGHTER)
                if again is None:
                    return Status.LINE_SEARCH_FAILED
                (value, grad), recent = again, deque(again[:1], self.memory)
                continue
            point, value, new_grad = found
            s, y = point - omega, new_grad - self._rough(point, tree)[1] - smooth
            product = s @ y
            step = np.clip(s @ s / product, SHORTEST, LONGEST) if product > 0 else LONGEST
            omega, grad = point, new_grad
            recent.append(value)
            report(omega)


class ProjectedGradient(Spectral):
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
                f"set={type(self.set).__name__}(…) is a penalty, not a set: give it as the "
                "penalty of the problem, which ProximalGradient() minimises with the rest"
            )
        if not callable(self.set) or isinstance(self.set, type):
            raise ValueError(
                f"set={self.set!r} must be a set of kbo.regularizers, such as Simplex(), or a "
                "function from omega to the nearest point of a convex set"
            )
        if self.memory < 1:
            raise ValueError(f"memory={self.memory!r} must be at least 1")

    def _nearest(self, point, step, tree):
        at = (tree or jnp.asarray)(point)
        nearest = self.set.prox(at, 1.0) if isinstance(self.set, Regularizer) else self.set(at)
        return np.asarray(raveled(nearest)[0], float)

    def _check_bounds(self):
        raise ValueError(
            "ProjectedGradient has a set, and takes no bounds beside it: give kbo.regularizers."
            "Box(lower, upper) as the set, or a projection onto both"
        )

    def _check_start(self, omega, tree):
        off = np.linalg.norm(omega - self._nearest(omega, 1.0, tree))
        if off > OUTSIDE * (1 + np.linalg.norm(omega)):
            raise ValueError(
                f"omega0 is not in the set: its projection is {off:.1e} away. Start from a point "
                "in it, or, if this is one, see that the function projects"
            )


class ProximalGradient(Spectral):
    """ω ← ω + t(prox_{sR}(ω − s∇f) − ω), L = f + R: the spectral proximal gradient method.

    R is the ``penalty`` of the problem, a regularizer of kbo.regularizers that may have kinks, such
    as ``L1(0.1)``, or ``Part(lambda w: w["weights"], L1(0.1))`` for a part of ω: numbers are zero
    exactly. s and t are as in ProjectedGradient, with R(ω + d) − R(ω) + ∇f·d for the slope along
    d. A point is stationary if ω = prox_R(ω − ∇f); the norm of the difference is the ``grad_norm``
    of a result. It is the default of ``minimize`` for such problems. Bounds need an R that is a sum
    over numbers, such as L1.

    Parameters
    ----------
    max_steps, tol
        As in LBFGS.
    memory : int
        As in ProjectedGradient.
    regularizer : kbo.regularizers.Regularizer, optional
        R, which ``minimize`` takes from the problem.

    References
    ----------
    Wright, Nowak, Figueiredo (2009), Sparse Reconstruction by Separable Approximation.
    """

    max_steps: int = 200
    tol: float = 1e-6
    memory: int = eqx.field(static=True, default=10)
    regularizer: Any = None

    def of(self, penalty):
        """The method for the penalty of a problem."""
        if not isinstance(penalty, Regularizer):
            raise ValueError(
                f"optimizer=ProximalGradient() needs a problem whose penalty is one of "
                f"kbo.regularizers, such as L1(0.1), and it is {penalty!r}: give penalty=, or "
                "another optimizer"
            )
        return dataclasses.replace(self, regularizer=penalty)

    def _check_bounds(self):
        if not self.regularizer.separable:
            raise ValueError(
                f"penalty={type(self.regularizer).__name__} is no sum over numbers, and cannot be "
                "combined with bounds: leave out bounds=, or write the numbers as functions that "
                "keep to the bounds (exp, for positive numbers)"
            )

    def _nearest(self, point, step, tree):
        nearest = self.regularizer.prox((tree or jnp.asarray)(point), step)
        return np.asarray(raveled(nearest)[0], float)

    def _rough(self, omega, tree):
        value, grad = jax.value_and_grad(self.regularizer)((tree or jnp.asarray)(omega))
        return float(value), np.asarray(raveled(grad)[0], float)


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
