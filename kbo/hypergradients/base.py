"""What a hypergradient method is."""

from __future__ import annotations

import abc
from typing import ClassVar

import jax
import numpy as np

from ..function import Function
from ..module import Module
from ..needs import Needs
from ..result import Hypergradient, Residuals, Status
from ..spaces import Space

# The needs of methods that differentiate one objective J(ω, θ) on whole samples. NeuralFeatures has
# no such objective, since its last layer is solved for.
PARAMETRIC = Needs(spaces=(Space,), remedy="use method=kbo.hypergradients.Implicit()")


def on_device(tree, dtype):
    """Every array of a pytree in the dtype of the data."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


def all_finite(tree) -> bool:
    """Whether every number of a pytree is."""
    found = [np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return all(found)


def finish(
    instance, solver, value, grad, inner, status, residuals, *, adjoint=None, jitter=0.0, **more
) -> Hypergradient:
    """The result of an evaluation; its status is NON_FINITE where the numbers are.

    Parameters
    ----------
    instance : Instance
    solver : Solver
    value : number
    grad : pytree
    inner : callable or pytree
        h, or its coefficients.
    status : Status
        Of all that has been solved.
    residuals : pair of float
        Of the inner and of the adjoint problem.
    adjoint, jitter, **more
        See Hypergradient.
    """
    value, grad = float(value), jax.tree.map(np.array, grad)
    if status.usable and not all_finite((value, grad)):
        status = Status.NON_FINITE
    if not callable(inner):
        inner = Function(instance, on_device(inner, instance.dtype))
    return Hypergradient(
        value=value, grad=grad, inner=inner, adjoint=adjoint, residuals=Residuals(*residuals),
        jitter=jitter, status=status, solver=solver, **more,
    )


class Method(Module):
    """Computes L(ω) and ∇L(ω) of a BilevelProblem.

    Attributes
    ----------
    stochastic : bool
        Whether two evaluations at one ω may differ by what they draw.
    remedy : str
        What makes the adjoint, or the method's own iteration, more exact.
    """

    stochastic: ClassVar[bool] = False
    remedy: ClassVar[str] = ""

    def __str__(self):
        return type(self).__name__

    @property
    def needs(self) -> Needs:
        """What instance and solver must be for this method; a Session refuses any others."""
        return Needs()

    @abc.abstractmethod
    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """The value and hypergradient at ω, in canonical form.

        Parameters
        ----------
        instance : Instance
            The problem at ω.
        solver : Solver
        state : object, optional
            A warm start: the ``state`` of an earlier result.
        """

    def fixed(self, prepared) -> Method:
        """This method with each problem that it holds itself as ``prepared(problem)``."""
        return self

    def comparable(self, solver) -> bool:
        """Whether values at two ω compare with this ``solver``, as a line search needs it."""
        return solver.deterministic and not self.stochastic

    def within(self, tol) -> Method:
        """This method with its linear system solved to ``tol``; itself where there is none."""
        return self

    def value(self, instance, solver) -> float:
        """L(ω) of an ``instance`` by a ``solver``; infinite where it has no usable value."""
        found = self.evaluate(instance, solver)
        return found.value if found.status.usable else np.inf

    def warm_start(self, solver, state):
        """What to store of a ``state`` so that a run with ``solver`` resumes as warm, or None.

        It is a pytree of arrays.
        """
        return solver.warm_start(state)

    def solution_state(self, state):
        """The part of a state that the problem's own solution can start from."""
        return state

    def function(self, instance, solver, state) -> tuple[Function, Status]:
        """h_ω of an ``instance``, and how its solve by ``solver`` ended, from ``state``."""
        solution = solver.solve(instance, self.solution_state(state))
        coefficients = on_device(solution.coefficients, instance.dtype)
        return Function(solution.instance, coefficients), solution.status
