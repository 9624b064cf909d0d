"""The mean of several bilevel problems that share ω."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from ..result import Hypergradient, Residuals, Status
from .base import Method
from .implicit import Implicit


class Mean(Method):
    """L(ω) = (1/F) Σ_f L_f(ω) for F problems, for ``minimize(problems[0], ω, method=Mean(…))``.

    Where replicates of one problem would not do, because points or targets differ: folds whose
    preprocessing is fitted anew, tasks. The first problem is the one whose h is returned.

    Parameters
    ----------
    problems : tuple of BilevelProblem
    method : Method
        For each of them.
    """

    problems: tuple
    method: Method = Implicit()

    @property
    def stochastic(self):
        """See Method."""
        return self.method.stochastic

    @property
    def remedy(self):
        """See Method."""
        return self.method.remedy

    def within(self, tol):
        """See Method."""
        return dataclasses.replace(self, method=self.method.within(tol))

    def value(self, instance, solver):
        """See Method."""
        values = [self.method.value(one, solver) for one in self._at(instance.omega)]
        return float(np.mean(values))

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """See Method."""
        parts = [
            self.method.evaluate(one, solver, own)
            for one, own in zip(self._at(instance.omega), self._states(state), strict=True)
        ]
        mean = lambda *values: np.mean(np.stack(values), axis=0)  # noqa: E731
        failed = [part.status for part in parts if not part.status.ok]
        unusable = [status for status in failed if not status.usable]
        return Hypergradient(
            value=float(np.mean([part.value for part in parts])),
            grad=jax.tree.map(mean, *[part.grad for part in parts]),
            inner=parts[0].inner, adjoint=parts[0].adjoint,
            residuals=Residuals(
                max(part.residuals.inner for part in parts),
                max(part.residuals.adjoint for part in parts),
            ),
            jitter=max(part.jitter for part in parts),
            status=(unusable or failed or [Status.CONVERGED])[0],
            state=[part.state for part in parts], solver=solver,
            _bound=lambda: float(np.mean([part.error_bound for part in parts])),
        )

    def fixed(self, prepared):
        """See Method."""
        problems = tuple(map(prepared, self.problems))
        return dataclasses.replace(self, problems=problems, method=self.method.fixed(prepared))

    def comparable(self, solver):
        """See Method."""
        return self.method.comparable(solver)

    def warm_start(self, solver, state):
        """See Method: what each problem's evaluations start from."""
        return [self.method.warm_start(solver, own) for own in self._states(state)]

    def solution_state(self, state):
        """See Method."""
        return self.method.solution_state(self._states(state)[0])

    def function(self, instance, solver, state):
        """See Method: of the first problem."""
        return self.method.function(instance, solver, self._states(state)[0])

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
