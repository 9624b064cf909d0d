"""What a solver of Hv = b is, F systems at once, H known by its products alone."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax

ACCEPTABLE = 1e-3  # ‖b − Hv‖/‖b‖ up to which a system counts as solved
BLOWN_UP = 1e2  # ‖b − Hv‖/‖b‖ from which v is worse than none
UNSOLVED = 1e-2  # ‖b − Hv‖/‖b‖ that rounding does not explain, in float32 neither
POSITIVE = ("steps", "step_size", "scale", "rank", "damping", "memory")


class Solved(NamedTuple):
    """What a solver found.

    Attributes
    ----------
    v, residual : array (F, N)
        b − Hv is infinite where it is not known.
    products : int
        What they took.
    broken : bool
        Whether H was seen to be singular, b not in its range, or not to be positive.
    met : bool
        Whether it ended with its tolerance, not with its budget.
    """

    v: jax.Array
    residual: jax.Array
    products: jax.Array | int
    broken: jax.Array | bool = False
    met: jax.Array | bool = True


class LinearSolver(eqx.Module):
    """Maps H, b, a start and an estimate of H⁻¹ to an approximate solution v of Hv = b.

    Class attributes
    ----------------
    needs_inverse : bool
        Whether it needs the estimate, which the inner solver QuasiNewton makes.
    remedy : str
        What makes it solve better.
    tol : float or None
        Relative residual that is enough; None where there is none, or it is the inner solver's.
    """

    needs_inverse: ClassVar[bool] = False
    remedy: ClassVar[str] = "use another linear_solver, such as CG(steps) or Direct()"
    tol = None

    def __check_init__(self):
        for name in POSITIVE:
            if not getattr(self, name, 1) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be positive")
        if self.tol is not None and not self.tol >= 0:
            raise ValueError(f"tol={self.tol!r} must not be negative")

    def within(self, tol) -> LinearSolver:
        """This solver to another relative tolerance; itself where it has none."""
        changes = {"tol": tol} if "tol" in self.__dataclass_fields__ else {}
        return dataclasses.replace(self, **changes)

    def completed(self, tol) -> LinearSolver:
        """This solver with ``tol`` where its own is None."""
        return self.within(tol) if self.tol is None else self

    @abc.abstractmethod
    def solve(self, multiply, b, start, inverse=None) -> Solved:
        """v, its residual and what they cost.

        Parameters
        ----------
        multiply : callable
            (F, N) ↦ (F, N), a symmetric H_f for each row.
        b : array (F, N)
        start : array (F, N) or None
            None is zero, and costs no product.
        inverse : callable or None
            (F, N) ↦ (F, N), an estimate of the inverses.
        """
