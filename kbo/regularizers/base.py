"""What a regularizer is: R, its proximal step, and the manifold along which it is smooth."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import numpy as np

from ..module import Module


class Regularizer(Module):
    """A convex function R, or the constraint x ∈ C as R = 0 in C and ∞ outside.

    Arguments are arrays or pytrees of them. Subclasses define R, ``prox`` and ``tangent``; if their
    manifolds move with their own parameters, ``moved`` too, and if they are curved,
    ``curvature_times``.

    Attributes
    ----------
    separable : bool
        Whether R is a sum over entries, so that ``prox`` takes a rate for each of them.
    """

    separable: ClassVar[bool] = False

    def fault(self) -> str:
        """What is wrong with R's parameters, in words; empty if nothing is."""
        return ""

    @abc.abstractmethod
    def __call__(self, x) -> jax.Array:
        """R(x)."""

    @abc.abstractmethod
    def prox(self, x, rate):
        """argmin_z ‖z − x‖²/2 + rate·R(z); for a constraint the nearest point of C."""

    @abc.abstractmethod
    def tangent(self, x, direction):
        """The orthogonal projection of a direction onto the tangent space of x's manifold."""

    def moved(self, x):
        """x, moved with its manifold where that depends on R's parameters."""
        return x

    def curvature_times(self, x, slope, direction):
        """∂²R at ``x`` times a tangent direction; the objective's smooth part has ``slope``."""
        return jax.jvp(jax.grad(self), (x,), (direction,))[1]


def faulty(name, value, wanted, good):
    """A sentence if a parameter is not what is wanted."""
    held = np.asarray(value)
    right = np.all(good(held)) and np.isfinite(held).all()
    return "" if right else f"{name}={value} must be {wanted} and finite"


class Part(Regularizer):
    """R of a part of x, which is free otherwise, such as one entry of a dictionary ω.

    Parameters
    ----------
    where : callable
        The part of x, which R is of: ``lambda w: w["weights"]``.
    regularizer : Regularizer
        R.
    """

    where: Callable
    regularizer: Regularizer

    @property
    def separable(self):
        """Whether R is a sum over entries."""
        return self.regularizer.separable

    def fault(self):
        """What is wrong with R's parameters."""
        return self.regularizer.fault()

    def __call__(self, x):
        """R of the part."""
        return self.regularizer(self.where(x))

    def _with(self, x, part):
        return eqx.tree_at(self.where, x, part)

    def prox(self, x, rate):
        """x with the proximal step of R in its part."""
        return self._with(x, self.regularizer.prox(self.where(x), rate))

    def tangent(self, x, direction):
        """The direction, within the tangent space of R's manifold in its part."""
        part = self.regularizer.tangent(self.where(x), self.where(direction))
        return self._with(direction, part)

    def moved(self, x):
        """x, its part moved with R's manifold."""
        return self._with(x, self.regularizer.moved(self.where(x)))
