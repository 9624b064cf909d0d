"""Hypergradients of sub-samples: the stochastic outer loop."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from ..result import Hypergradient
from .base import Method
from .implicit import Implicit
from .sampling import on_rows
from .single_loop import SingleLoop


class StochasticState(NamedTuple):
    """Evaluations so far, and the method's own state."""

    count: int
    own: Any


class Stochastic(Method):
    """∇L of the problem on a random part of each sample, drawn anew at every evaluation.

    The inner problem, the adjoint and the outer loss all see ``inner_size`` of the n inner and
    ``outer_size`` of the m outer points; networks go on training from one part to the next. For
    ``minimize`` with kbo.optimizers.Optax, whose schedules then play the part of SGD's; the last
    iterate is returned, since values on different parts do not compare.

    Parameters
    ----------
    inner_size, outer_size : int, optional
        Rows drawn, without replacement; None is all.
    method : Method
        For each part.
    seed : int
        Of the draws: the k-th evaluation draws the same rows in every run.

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
        if isinstance(self.method, SingleLoop):
            raise ValueError(
                f"method={type(self.method).__name__} draws batches of its own: give it inner_size "
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
    def remedy(self):
        """See Method."""
        return self.method.remedy

    def within(self, tol):
        """See Method."""
        return dataclasses.replace(self, method=self.method.within(tol))

    def fixed(self, prepared):
        """See Method."""
        return dataclasses.replace(self, method=self.method.fixed(prepared))

    def value(self, instance, solver):
        """See Method: of the first draw."""
        return self.method.value(self._part(instance, 0), solver)

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """See Method."""
        count, own = self._parts(state)
        if self.method.comparable(solver):
            own = None  # a start from other points' values would be no start
        found = self.method.evaluate(self._part(instance, count), solver, own)
        kept = found.state if found.status.usable else own
        return dataclasses.replace(found, state=StochasticState(count + 1, kept))

    def warm_start(self, solver, state):
        """See Method: the number of evaluations, and what the method stores."""
        count, own = self._parts(state)
        anew = self.method.comparable(solver)
        return [count, None if anew else self.method.warm_start(solver, own)]

    def solution_state(self, state):
        """See Method: networks as they were left."""
        return self.method.solution_state(self._parts(state)[1])

    def function(self, instance, solver, state):
        """See Method: of the whole samples."""
        return self.method.function(instance, solver, self._parts(state)[1])

    def _parts(self, state):
        """How many evaluations there were, and the method's own state."""
        count, own = (0, None) if state is None else state
        return int(count), own
