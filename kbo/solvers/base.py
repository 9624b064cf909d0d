"""What a solver owes the rest: an inner solution that can also solve its own adjoint."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from ..instance import Instance
from ..module import Module
from ..needs import Needs
from ..problem import BilevelProblem
from ..result import Status


class InnerSolution(abc.ABC):
    """h_ω on both samples, and the linear system that remains for the adjoint.

    Attributes
    ----------
    certified : bool
        Whether the residual is ∇J in the space, which bounds the errors of h and of L.
    stationary : bool
        Whether what a tolerance left of ∂_θJ may correct the value of Parametric.
    instance : Instance
        The one that was solved: features that training moves are settled in it.
    h_inner, h_outer : ndarray (F, n, p), (F, m, p)
    coefficients : ndarray or pytree of them
        The frozen representation of h (see the space).
    residual, jitter : float
    status : Status
    state : object
        Warm start for a later solve.
    gram : jax.Array or None
        See kbo.spaces.base.Frozen; the next solve with this ``state`` overwrites it.
    memory : kbo.linalg.lbfgs.Memory or None
        The estimate of (∂²_θθJ)⁻¹ that the solver made, if it makes one.
    evaluations : int
        Of J and ∂_θJ, where the solver works by gradients.
    """

    certified: ClassVar[bool] = True
    stationary: ClassVar[bool] = False
    memory: Any = None
    evaluations: int = 0

    instance: Instance
    h_inner: np.ndarray
    h_outer: np.ndarray
    coefficients: np.ndarray
    residual: float
    jitter: float
    status: Status
    state: Any
    gram: jax.Array | None

    def adjoint(self, slopes: np.ndarray) -> AdjointSolution:
        """The adjoint for ∂_{h(x'_j)} L = ``slopes``, (F, m, p).

        a = argmin (1/Σw) Σ w_i ½ a(x_i)ᵀD_i a(x_i) + (ridge/2)‖a‖² + Σ_j slopes_j·a(x'_j).

        Solutions of a solver whose ``solves_adjoint`` is False do not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no adjoint")


class AdjointSolution(NamedTuple):
    """a_ω.

    Attributes
    ----------
    frozen : ndarray
        What Λ holds fixed (RKHS: the values at the inner points; features: coefficients).
    coefficients : ndarray (F, N, p)
        For evaluating a elsewhere: on the inner points, then, if ``on_both``, the outer ones.
    on_both : bool
    residual : float
        ‖∇J_adj(a)‖_H, the worst over replicates.
    values : ndarray (F, n, p) or None
        a at the inner points, where ``frozen`` is something else.
    status : Status
        CONVERGED where the tolerance is met.
    """

    frozen: np.ndarray
    coefficients: np.ndarray
    on_both: bool
    residual: float
    status: Status
    values: np.ndarray | None = None


class Solver(Module):
    """Solves the inner problem of an Instance.

    Attributes
    ----------
    double : bool
        Whether it computes in float64 whatever the dtype of the data.
    solves_adjoint : bool
        Whether its solutions have ``adjoint``.
    mesh : jax.sharding.Mesh or None
        Devices over which rows are spread.
    deterministic : bool
        Whether solutions are functions of ω, not of what was solved before.
    tol, loose : float or None, float
        Its relative tolerance, and the one it may begin a search with if that is larger.
    remedy : str
        What makes it solve better.
    traceable : bool
        Whether it has ``equations``, so that kbo.solve can run it inside a JAX program.
    """

    double: ClassVar[bool] = False
    solves_adjoint: ClassVar[bool] = True
    mesh = None
    tol = None
    loose = 0.0
    deterministic: ClassVar[bool] = True
    remedy: ClassVar[str] = ""
    traceable: ClassVar[bool] = False

    @property
    def needs(self) -> Needs:
        """What an instance must be for this solver; a Session refuses any other."""
        return Needs()

    def fixed(self, instance) -> Solver:
        """This solver with its choices, such as of centres, made on ``instance`` for all ω."""
        return self

    def keyed(self, key) -> Solver:
        """This solver with ``key`` for what it draws; itself where it draws nothing."""
        return self

    def restrict(self, problem) -> BilevelProblem:
        """The problem that a fixed solver solves instead: over the span of its centres."""
        return problem

    def loosened(self, ratio) -> Solver:
        """What suffices in a search whose gradient is still ``ratio`` times the first one."""
        return self

    def within(self, tol) -> Solver:
        """This solver to the relative tolerance ``tol``; itself where it has none to change."""
        return self

    def __str__(self):
        return type(self).__name__

    @abc.abstractmethod
    def solve(self, instance, state=None) -> InnerSolution:
        """h_ω of an ``instance``; ``state`` is an earlier solution's, or what ``warm_start`` made.

        The earlier solution gives up its memory: ask it for no adjoint any more.
        """

    def equations(self, instance) -> Any:
        """The kbo.solvers._traced.Equations of ``instance``, for kbo.solve inside JAX programs.

        Solvers whose ``traceable`` is False do not define them.
        """
        raise NotImplementedError(f"{type(self).__name__} has no equations")

    def warm_start(self, state):
        """What to store of ``state``, a pytree of arrays, for a resumed run; None if nothing."""
        return state

