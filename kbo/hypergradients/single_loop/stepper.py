"""What a single-loop method is: how θ, and what stands for the adjoint, move along with ω."""

from __future__ import annotations

import abc
from collections.abc import Callable

import equinox as eqx

from ...module import Module
from ...spaces import FeatureSpace, NeuralSpace, Subspace
from ..base import PARAMETRIC
from .sampler import Batches

AT_LEAST_ONE = ("steps", "adjoint_steps", "terms", "period")
POSITIVE = ("multiplier", "barrier", "momentum")


class Stepper(Module):
    """Base class: one step of θ, and of what the method remembers, for each step of ω.

    Given as ``method=`` of kbo.minimize, with kbo.optimizers.Optax(optax.sgd(rate)), whose step
    then is the published one. The last iterate is returned, since values of L cannot be
    compared while θ moves. h of the result belongs to the last θ.

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

    def __check_init__(self):
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, value in given.items():
            number = isinstance(value, int | float)
            if name.endswith("size") and value is not None and value < 1:
                raise ValueError(f"{name}={value!r} must be at least 1, or None")
            if name.endswith("rate") and number and not value > 0:
                raise ValueError(f"{name}={value!r} must be positive")
            if name in AT_LEAST_ONE and value < 1:
                raise ValueError(f"{name}={value!r} must be at least 1")
            if name in POSITIVE and number and not value > 0:
                raise ValueError(f"{name}={value!r} must be positive")
            if name == "momentum" and number and value > 1:
                raise ValueError(f"momentum={value!r} must not be above 1, which is none")

    @property
    def needs(self):
        """One J(ω, θ), in memory.

        Batches of the inner sample need coefficients that do not belong to its points, as those of
        an RKHS do; batches of the outer sample need a loss of one sample.
        """
        needs = PARAMETRIC
        if self.inner_size is not None:
            remedy = "use solver=kbo.solvers.Nystrom(M) for an RKHS, or inner_size=None"
            needs = needs._replace(spaces=(FeatureSpace, Subspace, NeuralSpace), remedy=remedy)
        if self.outer_size is not None:
            needs = needs._replace(separable=True, remedy=f"{needs.remedy}; or outer_size=None")
        return needs

    @abc.abstractmethod
    def init(self, batches: Batches, omega, theta):
        """What is remembered before the first step, a pytree of arrays, for ω (q,) and θ (F, N).

        ``batches`` are the objectives J and L as functions of both, on rows drawn anew.
        """

    @abc.abstractmethod
    def step(self, batches: Batches, count, omega, theta, memory):
        """(D (q,), θ, memory) after one step from ω and θ.

        ``batches`` are as in ``init``, ``count`` is the number of steps before, and ``memory`` what
        the last one returned.
        """

    @abc.abstractmethod
    def passes(self, blocks) -> tuple[float, float]:
        """Gradients of J, and products with its second derivatives, of one step.

        In batches, of which the inner sample has ``blocks``.
        """

    def check(self, instance):
        """Refuse sizes of batches that do not fit the samples of ``instance``."""


def now(rate, count):
    """A rate or schedule after ``count`` steps."""
    return rate(count) if callable(rate) else rate


