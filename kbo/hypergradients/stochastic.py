"""Hypergradients on random sub-samples, for stochastic outer loops."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from ..result import Hypergradient
from .around import Around
from .base import Method
from .implicit import Implicit
from .sampling import on_rows
from .single_loop import SingleLoop, Stepper


class StochasticState(NamedTuple):
    """The number of evaluations so far, and the state of the inner method."""

    count: int
    own: Any


class Stochastic(Around):
    """∇L of the problem on a random part of each sample, drawn anew at every evaluation.

    The inner problem, the adjoint and the outer loss all use ``inner_size`` of the n inner and
    ``outer_size`` of the m outer points; networks continue to train from one part to the next. Use
    it in ``minimize`` with kbo.optimizers.Optax and a step-size schedule. The last iterate is
    returned, since values on different parts cannot be compared.

    Parameters
    ----------
    inner_size, outer_size : int, optional
        Number of rows drawn, without replacement; None takes all.
    method : Method
        Computes the hypergradient on each part.
    seed : int
        Seed of the draws: the k-th evaluation draws the same rows in every run.

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Algorithm 1.
    """

    inner_size: int | None = None
    outer_size: int | None = None
    method: Method = Implicit()
    seed: int = 0

    stochastic = True

    def __check_init__(self):
        if isinstance(self.method, SingleLoop | Stepper):
            raise ValueError(
                f"method={self.method} draws batches of its own: give it inner_size "
                "and outer_size, in place of Stochastic"
            )
        for name in ("inner_size", "outer_size"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name}={size!r} must be at least 1, or None")

    def _part(self, instance, count):
        """The problem on the rows of one draw."""
        sizes = self.inner_size, self.outer_size
        return on_rows(instance.problem, sizes, [self.seed, count]).at(instance.omega)

    @property
    def needs(self):
        """The needs of ``method``, and points in memory, from which rows are drawn."""
        return self.method.needs._replace(memory=True)

    def comparable(self, solver):
        """False: values on different rows cannot be compared."""
        return False

    def own(self, state):
        """The state of ``method``, such as networks as the last part left them."""
        return self._parts(state)[1]

    def value(self, instance, solver):
        """L(ω) of the part drawn first."""
        return self.method.value(self._part(instance, 0), solver)

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """The value and hypergradient of the part that is drawn next."""
        count, own = self._parts(state)
        if self.method.comparable(solver):
            own = None  # values at other points are no useful start
        found = self.method.evaluate(self._part(instance, count), solver, own)
        kept = found.state if found.status.usable else own
        return dataclasses.replace(found, state=StochasticState(count + 1, kept))

    def warm_start(self, solver, state):
        """The number of evaluations, and the warm start of ``method``."""
        count, own = self._parts(state)
        anew = self.method.comparable(solver)
        return [count, None if anew else self.method.warm_start(solver, own)]

    def _parts(self, state):
        """The number of evaluations, and the state of ``method``."""
        count, own = (0, None) if state is None else state
        return int(count), own
