"""A criterion with a prior of its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..hypergradients.around import Around
from ..hypergradients.base import Method
from ..programs import program
from ..result import Hypergradient


@program
def _value_and_grad(prior, omega):
    return jax.value_and_grad(prior)(omega)


class Regularized(Around):
    """A monotone function of L(ω) and P(ω) whose minimiser is a maximum a posteriori.

    P = −log p(ω) up to a constant. What L is decides how the two meet::

        kind="square":  L exp(2P/n)         for a mean of n squares of unknown variance, since
                                            then −log p(t | ω) is (n/2) log L
        kind="nats":    exp(2 (L + P)/n)    for L = −log p(t | ω), as MarginalLikelihood has it

    Both are positive, and fall by the same share where a model explains n targets better.

    Parameters
    ----------
    method : Method
        It computes L.
    prior : callable
        P, from ω to a number.
    samples : float
        n, times the number of outputs.
    kind : {"square", "nats"}

    Raises
    ------
    ValueError
        For another ``kind``.

    References
    ----------
    Cawley, Talbot (2007), Preventing Over-Fitting during Model Selection via Bayesian
    Regularisation of the Hyper-Parameters, JMLR 8, Section 3.
    """

    method: Method
    prior: Callable
    samples: Any
    kind: str = eqx.field(static=True, default="square")

    def __check_init__(self):
        if self.kind not in ("square", "nats"):
            raise ValueError(f"kind={self.kind!r} must be 'square' or 'nats'")

    def plain(self, value) -> float:
        """L + P of a value, where L is in nats; else the value itself."""
        if self.kind == "square":
            return float(value)
        with np.errstate(divide="ignore"):
            return float(0.5 * self.samples * np.log(value))

    def _joined(self, value, prior):
        """The value, and its derivatives in L and in P."""
        share = 2.0 / float(self.samples)
        with np.errstate(over="ignore"):
            if self.kind == "nats":
                joined = np.exp(share * (value + prior))
                return joined, share * joined, share * joined
            factor = np.exp(share * prior)
            return value * factor, factor, share * value * factor

    def value(self, instance, solver):
        """The joint value alone."""
        found = self.method.value(instance, solver)
        prior = float(_value_and_grad(self.prior, instance.omega)[0])
        return float(self._joined(found, prior)[0])

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """The joint value and its gradient."""
        found = self.method.evaluate(instance, solver, state)
        prior, slopes = _value_and_grad(self.prior, instance.omega)
        value, of_loss, of_prior = self._joined(found.value, float(prior))
        grad = jax.tree.map(
            lambda a, b: of_loss * a + of_prior * np.asarray(b, float), found.grad, slopes
        )
        return dataclasses.replace(found, value=float(value), grad=grad, _bound=None)
