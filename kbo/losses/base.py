"""What a loss is: a function ℓ(ω, prediction, target) of one sample, or of all samples at once."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import jax
import numpy as np

from ..arithmetic import is_traced, resolve
from ..module import Module
from ..targets import Targets


class Loss(Module):
    """ℓ(ω, v, t) for one sample: prediction v (scalar or (p,)), target t.

    Attributes
    ----------
    constant_curvature : bool
        Whether ∂²ℓ/∂v² is the identity for all ω, v and t, so that one linear solve is exact.
    nonnegative : bool
        Whether ℓ ≥ 0, so that the logarithm of its mean may be minimised instead.
    fixed : tuple of str
        The numbers among its fields that the estimators never tune, since they define the problem.
    targets : Targets or None
        The targets that the loss accepts; None leaves that open.
    """

    constant_curvature: ClassVar[bool] = False
    nonnegative: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, ...]] = ()
    targets: ClassVar[Targets | None] = None

    @abc.abstractmethod
    def __call__(self, omega, prediction, target) -> jax.Array:
        """The loss of one sample, a scalar."""

    def positive(self) -> tuple[str, ...]:
        """The names of the parameters that must be positive."""
        return ()

    def check(self, omega):
        """Raise for parameters that are invalid at ω.

        Raises
        ------
        ValueError
            If a parameter that must be positive is not.
        """
        for name in self.positive():
            value = resolve(getattr(self, name), omega)
            if not (is_traced(value) or (np.asarray(value) > 0).all()):
                raise ValueError(f"{type(self).__name__}({name}={value}) must be positive")

    def probabilities(self, omega, prediction) -> jax.Array | None:
        """π (p,) if ∂²ℓ/∂v² = diag π − ππᵀ at a ``prediction`` (p,) and ω; else None. Σπ = 1."""
        return None


class OwnLoss(Loss):
    """A user's function ℓ(ω, v, t), about which nothing more is known.

    Parameters
    ----------
    function : callable
        ℓ, from ω, a prediction and a target to a number; as an inner loss, convex in the second.
    """

    function: Callable

    def __call__(self, omega, prediction, target):
        return self.function(omega, prediction, target)


class Joint(Module):
    """An outer loss of all predictions at once, rather than a mean over samples."""

    @abc.abstractmethod
    def __call__(self, omega, predictions, targets, weights) -> jax.Array:
        """L of predictions (m,) or (m, p), targets with leading axis m, weights (m,); a scalar."""


def as_loss(loss):
    """A loss as it is, or a function wrapped as an OwnLoss; anything else is returned as it is.

    Parameters
    ----------
    loss : Loss, Joint or callable ℓ(ω, v, t)

    Returns
    -------
    Loss or Joint
    """
    known = isinstance(loss, Loss | Joint | type) or not callable(loss)
    return loss if known else OwnLoss(loss)
