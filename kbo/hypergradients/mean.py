"""The mean of several bilevel problems that share ω."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import numpy as np

from ..result import Hypergradient, Residuals, Status
from .around import Around
from .base import Method
from .implicit import Implicit
from .single_loop import as_method


class Mean(Around):
    """L(ω) = (1/F) Σ_f L_f(ω) for F problems, for ``minimize(problems[0], ω, method=Mean(…))``.

    For problems that cannot be replicates of a single one, because their points or targets differ:
    several tasks, or folds with their own preprocessing. The h returned is that of the first one.

    Parameters
    ----------
    problems : tuple of BilevelProblem
    method : Method
        Computes the hypergradient of each problem.
    """

    problems: tuple
    method: Method = eqx.field(default=Implicit(), converter=as_method)

    def value(self, instance, solver):
        """The mean of L_f(ω)."""
        values = [self.method.value(one, solver) for one in self._at(instance.omega)]
        return float(np.mean(values))

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """The mean value and hypergradient, with the largest residuals and the worst status."""
        parts = [
            self.method.evaluate(one, solver, own)
            for one, own in zip(self._at(instance.omega), self._states(state), strict=True)
        ]
        mean = lambda *values: np.mean(np.stack(values), axis=0)  # noqa: E731
        return Hypergradient(
            value=float(np.mean([part.value for part in parts])),
            grad=jax.tree.map(mean, *[part.grad for part in parts]),
            inner=parts[0].inner, adjoint=parts[0].adjoint,
            residuals=Residuals(
                max(part.residuals.inner for part in parts),
                max(part.residuals.adjoint for part in parts),
            ),
            jitter=max(part.jitter for part in parts),
            status=Status.of_all(*(part.status for part in parts)),
            state=[part.state for part in parts], solver=solver,
            _bound=lambda: float(np.mean([part.error_bound for part in parts])),
        )

    def fixed(self, prepared):
        """This method with each of the problems as ``prepared(problem)``."""
        problems = tuple(map(prepared, self.problems))
        return dataclasses.replace(super().fixed(prepared), problems=problems)

    def own(self, state):
        """The state of the first problem."""
        return self._states(state)[0]

    def warm_start(self, solver, state):
        """The warm starts of all problems."""
        return [self.method.warm_start(solver, own) for own in self._states(state)]

    def _at(self, omega):
        """The instances, each with ω in the dtype of its own data."""
        for problem in self.problems:
            instance = problem.at(omega)
            dtype = instance.dtype
            if any(leaf.dtype != dtype for leaf in jax.tree.leaves(omega)):
                typed = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), omega)
                instance = problem.at(typed)
            yield instance

    def _states(self, state):
        """One state for each problem."""
        return [None] * len(self.problems) if state is None else state
