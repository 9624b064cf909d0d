"""What solvers and methods need: declared as data, and checked in one place with one message."""

from __future__ import annotations

from typing import Any, NamedTuple

from .instance import Instance
from .losses import Joint
from .spaces import NeuralFeatures, RegularizedFeatures, Space

ANY = (Space, NeuralFeatures, RegularizedFeatures)  # kinds of space


class Needs(NamedTuple):
    """What an instance must be for a solver or a method to work on it.

    Attributes
    ----------
    spaces : tuple of type
        Kinds of space.
    quadratic : bool
        Whether the inner loss must have constant curvature, as Squared has.
    losses : tuple of type
        Kinds of inner loss; empty if any will do.
    single : bool
        Whether there may be only one replicate (weights of shape (n,)).
    memory : bool
        Whether all points must be in memory, rather than in a kbo.Stream.
    still : bool
        Whether the inner data must not depend on ω.
    separable : bool
        Whether the outer loss must be one of a single sample, not a Joint.
    solvers : tuple of type
        Kinds of solver, for a method; empty if any will do.
    one_device : bool
        Whether the solver must not spread rows over devices, for a method.
    adjoint : bool
        Whether the solver must be able to solve the adjoint problem, for a method.
    remedy : str
        What to use instead.
    """

    spaces: tuple[type, ...] = (Space, NeuralFeatures)
    quadratic: bool = False
    losses: tuple[type, ...] = ()
    single: bool = False
    memory: bool = True
    still: bool = False
    separable: bool = False
    solvers: tuple[type, ...] = ()
    one_device: bool = False
    adjoint: bool = False
    remedy: str = ""

    def expect(self, who: str, instance: Instance, solver: Any = None):
        """Refuse an instance that does not meet these needs.

        Parameters
        ----------
        who : str
            The argument whose needs these are, such as "solver=Exact".
        instance : Instance
        solver : Solver, optional
            The solver that a method is to be used with.

        Raises
        ------
        ValueError
            Naming the first need that is not met, what was given, and the remedy.
        """
        fault = next(self._faults(instance, solver), None)
        if fault is not None:
            need, given = fault
            remedy = f": {self.remedy}" if self.remedy else ""
            raise ValueError(f"{who} needs {need}, not {given}{remedy}")

    def _faults(self, instance, solver):
        """Pairs of what is needed and what is given instead."""
        if solver is not None:
            yield from self._faults_of(solver)
        problem, space = instance.problem, instance.space
        if not isinstance(space, self.spaces):
            yield f"space={_names(self.spaces)}", f"space={type(space).__name__}"
        loss = problem.inner_loss
        if self.losses and not isinstance(loss, self.losses):
            yield f"inner_loss={_names(self.losses)}", f"inner_loss={loss}"
        if self.quadratic and not loss.constant_curvature:
            yield "an inner loss of constant curvature, such as Squared", f"inner_loss={loss}"
        if self.single and instance.inner.replicates != 1:
            yield "inner weights of shape (n,)", f"{instance.inner.replicates} replicates"
        if self.memory and problem.streamed:
            yield "points in memory", "x=kbo.Stream"
        if self.still and callable(problem.inner_data):
            yield "inner_data that do not depend on omega", "a callable"
        if self.separable and isinstance(problem.outer_loss, Joint):
            given = f"outer_loss={type(problem.outer_loss).__name__}, which needs all predictions"
            yield "an outer loss of one sample", given

    def _faults_of(self, solver):
        if self.solvers and not isinstance(solver, self.solvers):
            yield f"solver={_names(self.solvers)}", f"solver={solver}"
        if self.one_device and solver.mesh is not None:
            yield "a solver without a mesh", f"solver={solver}"
        if self.adjoint and not solver.solves_adjoint:
            yield "a solver that solves the adjoint problem", f"solver={solver}"


def _names(kinds):
    """Names of classes, in words."""
    names = [kind.__name__ for kind in kinds]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
