"""Records of what a computation found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .html import Shown, curve, facts
from .status import BilevelError, InvalidPoint, Status

__all__ = [
    "BilevelError", "BilevelResult", "Cost", "Hypergradient", "InvalidPoint", "Residuals", "Status",
    "StepRecord",
]


@dataclass(frozen=True)
class Residuals:
    """Norms of the remaining gradients ‖∇J‖_H of the inner and the adjoint problem; zero if exact.

    Attributes
    ----------
    inner, adjoint : float
        The largest over the replicates (folds).
    """

    inner: float
    adjoint: float


@dataclass(frozen=True)
class Cost:
    """The cost of one evaluation of a parametric method, in passes over the samples.

    Attributes
    ----------
    gradients : float
        Gradients of J in θ; 0 where the inner solver does not use them. A batch counts as its share
        of a pass.
    products : float
        Products of ∂²_θθJ or ∂²_ωθJ with a vector, and reverse passes of a step; each takes about
        twice as long as a gradient.
    """

    gradients: float
    products: float

    def __add__(self, other):
        """The cost of both together."""
        return Cost(self.gradients + other.gradients, self.products + other.products)

    def __rmul__(self, share):
        """The cost on a share of the samples."""
        return Cost(share * self.gradients, share * self.products)


@dataclass(frozen=True)
class Hypergradient(Shown):
    """L(ω) and ∇L(ω), with the functions they were computed from.

    Attributes
    ----------
    value : float
        L(ω).
    grad : pytree
        ∇L(ω) as NumPy arrays, with the structure of ω.
    inner, adjoint : callable or None
        The functions h_ω and a_ω. Each maps points (k, d) to values (k,) or (k, p), with a leading
        replicate axis if the weights have one. The adjoint is None if the method needs none.
    residuals : Residuals
    jitter : float
        The largest multiple of the identity added to make a factorisation succeed; normally 0.
    status : Status
    state : object
        Warm start for the next call with the same problem.
    solver : Solver or None
        The solver used, with its choices made: ``str`` says what Auto chose.
    cost : Cost or None
        Only for parametric methods.
    hint : str
        What to do in this case about a status that is not CONVERGED, in terms of the arguments.
    """

    value: float
    grad: Any
    inner: Callable
    adjoint: Callable | None
    residuals: Residuals
    jitter: float
    status: Status
    state: Any = field(repr=False, default=None)
    solver: Any = field(repr=False, default=None)
    cost: Cost | None = None
    hint: str = ""
    _bound: Callable[[], float] | None = field(repr=False, default=None)

    @property
    def error_bound(self) -> float:
        """A bound on ‖grad − ∇L(ω)‖₂ from the two residuals; computed at the first access.

        With squared inner and outer losses it is complete, up to rounding and the margins with
        which three operator norms are estimated. Otherwise it holds to first order in the
        residuals. It is infinite where no bound is known (finite differences, points in a Stream).
        """
        if "bound" not in self.__dict__:
            object.__setattr__(self, "bound", np.inf if self._bound is None else self._bound())
        return self.__dict__["bound"]

    def html_parts(self):
        """Value, gradient and diagnosis; see Shown."""
        sizes = [np.abs(leaf).max(initial=0) for leaf in _leaves(self.grad)]
        return facts({
            "L(ω)": f"{self.value:.6g}", "largest entry of ∇L": f"{max(sizes, default=0):.3g}",
            "status": f"{self.status.name}: {self.status}",
            "residuals (inner, adjoint)":
                f"{self.residuals.inner:.1e}, {self.residuals.adjoint:.1e}",
            "solver": self.solver, "hint": self.hint,
        })


@dataclass(frozen=True)
class StepRecord:
    """One outer iterate.

    Attributes
    ----------
    step : int
    omega : pytree
        None in a history if ω has more than 100,000 numbers; the callback receives it.
    value, grad_norm : float
        L(ω) and the Euclidean norm of its (projected) gradient. The norm and the residuals are
        infinite if the optimiser requested the value only.
    residuals : Residuals
    seconds : float
        Wall time since the start of ``minimize``, including earlier sessions of a resumed run.
    evaluations : int
        Number of hypergradient evaluations so far.
    cost : Cost
        Cost of the evaluations so far, if the method reports it; those that a resumed run reads
        from its checkpoint are not counted.
    function : callable or None
        h at this iterate, for metrics of the callback. None in a history, if the optimiser
        requested the value only, and for iterates that a resumed run reads from its checkpoint.
    """

    step: int
    omega: Any
    value: float
    grad_norm: float
    residuals: Residuals
    seconds: float
    evaluations: int
    cost: Cost = Cost(0, 0)
    function: Callable | None = field(repr=False, default=None)


@dataclass(frozen=True)
class BilevelResult(Shown):
    """What ``minimize`` returns: the best finite iterate, and how it was reached.

    Attributes
    ----------
    omega : pytree
        The last iterate of a search that converged, or whose values are not comparable (networks in
        training, stochastic methods); otherwise the one with the lowest outer value.
    value, grad_norm : float
        L(ω) and the norm of its projected gradient there.
    function : callable
        The inner solution h_ω.
    status : Status
    n_steps, n_evaluations : int
    history : list of StepRecord
        The start and every accepted step.
    solver : Solver
        The solver used, with its choices made: ``str`` says what Auto chose.
    n_rejected : int
        Number of evaluations without a usable value, which the optimiser stepped back from.
    failure : Status or None
        Status of the last evaluation that did not complete as requested, if any.
    hint : str
        As in Hypergradient.
    """

    omega: Any
    value: float
    grad_norm: float
    function: Callable
    status: Status
    n_steps: int
    n_evaluations: int
    history: list[StepRecord] = field(repr=False)
    solver: Any = field(repr=False, default=None)
    n_rejected: int = 0
    failure: Status | None = None
    hint: str = ""

    def html_parts(self):
        """The search, drawn, and its diagnosis; see Shown."""
        values = [record.value for record in self.history]
        norms = [record.grad_norm for record in self.history]
        return curve(values, "L(ω)") + curve(norms, "norm of the gradient", log=True) + facts({
            "L(ω)": f"{self.value:.6g}", "norm of the gradient": f"{self.grad_norm:.2e}",
            "status": f"{self.status.name}: {self.status}", "steps": self.n_steps,
            "evaluations": self.n_evaluations, "seconds": f"{self.history[-1].seconds:.1f}",
            "solver": self.solver, "failure": self.failure and self.failure.name,
            "hint": self.hint,
        })


def _leaves(tree):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
