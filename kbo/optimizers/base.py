"""The interface of an outer optimiser: from a flat ω, it requests L and ∇L and reports iterates."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ..module import Module
from ..result import Status

TIGHTER = 0.1  # factor of a loose tolerance where a line search fails


def projected_gradient(omega, grad, lower, upper):
    """ω − P(ω − ∇L), which is zero exactly at a stationary point of the box.

    Parameters
    ----------
    omega, grad, lower, upper : ndarray (q,)
        ω, ∇L and the corners of the box onto which P projects.

    Returns
    -------
    ndarray (q,)
    """
    return omega - np.clip(omega - grad, lower, upper)


def stationary(omega, grad, lower, upper, tol) -> bool:
    """Whether the projected gradient's norm is at most ``tol``; never for a negative ``tol``."""
    if tol < 0:
        return False
    return bool(np.linalg.norm(projected_gradient(omega, grad, lower, upper)) <= tol)


class OutOfTime(Exception):
    """Raised by ``evaluate`` on a part of the samples if only the whole may still be evaluated."""


class Optimizer(Module):
    """A method to minimise L; ``run`` is a deterministic function of what it is given.

    Attributes
    ----------
    comparable : bool
        Whether it requests every L to the same accuracy. The result is then the iterate with the
        lowest L; otherwise it is the last one.
    """

    comparable: ClassVar[bool] = True

    def endless(self) -> Optimizer:
        """The same optimiser without a tolerance, so that it makes all its steps."""
        changes = {"tol": -np.inf} if "tol" in self.__dataclass_fields__ else {}
        return dataclasses.replace(self, **changes)

    def of(self, penalty) -> Optimizer:
        """The optimiser for a problem with this penalty."""
        return self

    def unlimited(self) -> Optimizer:
        """The same optimiser whatever its ``max_steps``: a longer run begins as a shorter one."""
        changes = {"max_steps": 0} if "max_steps" in self.__dataclass_fields__ else {}
        return dataclasses.replace(self, **changes)

    def rest(self, omega, grad, lower, upper, tree=None):
        """ω − P(ω − ∇L), with the arguments of ``run`` and ``grad``, ∇L; it is zero at the end.

        P projects onto where the search may go: the box from ``lower`` to ``upper``, say.
        ``tree`` makes the user's ω of a vector.
        """
        if not (np.isfinite(lower).any() or np.isfinite(upper).any()):
            return grad
        return projected_gradient(omega, grad, lower, upper)

    @abc.abstractmethod
    def run(self, evaluate: Callable, report: Callable, omega, lower, upper, tree=None) -> Status:
        """Minimise from ``omega``.

        Parameters
        ----------
        evaluate : callable
            ω (q,) ↦ (L, ∇L), where L is +inf if it could not be computed. With ``accuracy=ε`` the
            inner and the adjoint problem are solved to that relative tolerance. With
            ``gradient=False`` only L is computed, and ∇L is None. With ``part`` in (0, 1) L and ∇L
            are those of the problem on that share of its samples, the same rows every time, and do
            not enter the history. An optimiser may turn to each part, and to the whole, only once.
            A solver with a ``loose`` tolerance is held to one in proportion to the gradient of the
            last report; with ``tighten=c`` to c times that from now on, 0 meaning its own. If it
            is held to its own already, ``tighten`` evaluates nothing and returns None.
        report : callable
            Called with each accepted ω except the start.
        omega, lower, upper : ndarray (q,)
        tree : callable, optional
            (q,) ↦ the user's ω, a pytree; None if that is the vector itself.
        """
