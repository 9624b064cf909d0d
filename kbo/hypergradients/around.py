"""Methods that change what another method computes."""

import dataclasses

import equinox as eqx

from .base import Method


class Around(Method):
    """A method that evaluates another one, ``method``, which answers all else.

    Attributes
    ----------
    method : Method
        It computes L(ω) and ∇L(ω).
    """

    method: eqx.AbstractVar[Method]

    @property
    def needs(self):
        """The needs of ``method``."""
        return self.method.needs

    @property
    def stochastic(self):
        """Whether ``method`` is stochastic."""
        return self.method.stochastic

    @property
    def remedy(self):
        """The remedy of ``method``."""
        return self.method.remedy

    def within(self, tol):
        """This method with the linear system of ``method`` solved to ``tol``."""
        return dataclasses.replace(self, method=self.method.within(tol))

    def fixed(self, prepared):
        """This method with each problem that ``method`` holds as ``prepared(problem)``."""
        return dataclasses.replace(self, method=self.method.fixed(prepared))

    def comparable(self, solver):
        """Whether values of ``method`` at two ω can be compared."""
        return self.method.comparable(solver)

    def own(self, state):
        """The state of ``method``; here the whole state."""
        return state

    def warm_start(self, solver, state):
        """The warm start of ``method``."""
        return self.method.warm_start(solver, self.own(state))

    def solution_state(self, state):
        """The part of the state that the problem's own solution can start from."""
        return self.method.solution_state(self.own(state))

    def function(self, instance, solver, state):
        """h_ω of ``method``, and how its solve ended."""
        return self.method.function(instance, solver, self.own(state))
