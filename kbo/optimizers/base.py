"""What an outer optimiser is: it sees a flat ω, asks for L and ∇L, and reports each iterate."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import numpy as np

from ..result import Status


def projected_gradient(omega, grad, lower, upper):
    """P(ω − ∇L) − ω, negated: zero exactly at a stationary point of the box."""
    return omega - np.clip(omega - grad, lower, upper)


def stationary(omega, grad, lower, upper, tol) -> bool:
    """Whether the projected gradient's norm is at most tol: never, with a negative one."""
    if tol < 0:
        return False
    return bool(np.linalg.norm(projected_gradient(omega, grad, lower, upper)) <= tol)


class OutOfTime(Exception):
    """Raised by ``evaluate`` of a part: the time is up, and only the whole is left to see."""


class Optimizer(eqx.Module):
    """How the outer variable moves: ``run`` is a deterministic function of what it is told.

    Class attributes
    ----------------
    comparable : bool
        Whether it asks for every L to one accuracy: the lowest is then the result, else the last.
    """

    comparable: ClassVar[bool] = True

    def endless(self) -> Optimizer:
        """The same without a tolerance, so that it makes all its steps."""
        changes = {"tol": -np.inf} if "tol" in self.__dataclass_fields__ else {}
        return dataclasses.replace(self, **changes)

    @abc.abstractmethod
    def run(self, evaluate: Callable, report: Callable, omega, lower, upper, tree=None) -> Status:
        """Minimise from ``omega``.

        Parameters
        ----------
        evaluate : callable
            ω (q,) ↦ (L, ∇L); L is +inf where it could not be computed. With ``accuracy=ε`` inner
            and adjoint problem are solved to that relative tolerance; with ``gradient=False``
            only L is computed, and ∇L is None; with ``part`` in (0, 1) both are those of the
            problem on that share of its samples, the same rows every time, no part of the
            history. An optimiser turns from part to part and to the whole at most once each.
        report : callable
            Called with each accepted ω, the start excepted.
        omega, lower, upper : ndarray (q,)
        tree : callable, optional
            (q,) ↦ the pytree that the user calls ω; None where that is the vector itself.
        """
