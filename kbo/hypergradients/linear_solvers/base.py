"""The interface of solvers of Hv = b, for F systems at once, from products with H alone."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, NamedTuple

import jax

from ...module import Module

ACCEPTABLE = 1e-3  # ‖b − Hv‖/‖b‖ up to which a system counts as solved
BLOWN_UP = 1e2  # ‖b − Hv‖/‖b‖ from which v is useless: the solver has diverged
UNSOLVED = 1e-2  # ‖b − Hv‖/‖b‖ that rounding cannot explain, not even in float32
POSITIVE = ("steps", "step_size", "scale", "rank", "damping", "memory")


class Solved(NamedTuple):
    """An approximate solution v.

    Attributes
    ----------
    v, residual : array (F, N)
        The residual b − Hv is infinite where it is not known.
    products : int
        Number of products with H.
    broken : bool
        Whether H was found to be indefinite, or singular with b outside its range.
    met : bool
        Whether the solver ended by its tolerance, rather than by its budget of steps.
    """

    v: jax.Array
    residual: jax.Array
    products: jax.Array | int
    broken: jax.Array | bool = False
    met: jax.Array | bool = True


class LinearSolver(Module):
    """Maps H, b, a start and an estimate of H⁻¹ to an approximate solution v of Hv = b.

    Attributes
    ----------
    solvers : tuple of type
        The inner solvers whose estimate of H⁻¹ it uses; empty if it uses none.
    remedy : str
        Advice on how to solve more accurately.
    tol : float or None
        Relative residual at which it stops; None if it has no such tolerance, or if that of the
        inner solver is to be used.
    """

    solvers: ClassVar[tuple[type, ...]] = ()
    remedy: ClassVar[str] = "use another linear_solver, such as CG(steps) or Direct()"
    tol = None

    def __check_init__(self):
        for name in POSITIVE:
            if not getattr(self, name, 1) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be positive")
        if self.tol is not None and not self.tol >= 0:
            raise ValueError(f"tol={self.tol!r} must not be negative")

    def within(self, tol) -> LinearSolver:
        """This solver with the relative tolerance ``tol``; unchanged if it has none."""
        changes = {"tol": tol} if "tol" in self.__dataclass_fields__ else {}
        return dataclasses.replace(self, **changes)

    def completed(self, tol) -> LinearSolver:
        """This solver with tolerance ``tol``, unless it has one of its own."""
        return self.within(tol) if self.tol is None else self

    @abc.abstractmethod
    def solve(self, multiply, b, start, inverse=None) -> Solved:
        """An approximate solution v, its residual and its cost.

        Parameters
        ----------
        multiply : callable
            (F, N) ↦ (F, N), which multiplies each row f by a symmetric H_f.
        b : array (F, N)
        start : array (F, N) or None
            None starts from zero, which costs no product.
        inverse : callable or None
            (F, N) ↦ (F, N), which multiplies each row by an estimate of H_f⁻¹.
        """
