"""What a computation reports: statuses whose messages say what to do, and result records."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Status(enum.Enum):
    """How a computation ended. ``str(status)`` says what to do about it.

    Members
    -------
    CONVERGED, TRUNCATED, STEPS_EXHAUSTED, LINE_SEARCH_FAILED, BLOCKED, STOPPED,
    INNER_NOT_CONVERGED, ADJOINT_NOT_CONVERGED, NOT_CONVEX, SINGULAR, DIVERGED, NON_FINITE,
    NOT_DIFFERENTIABLE, HELD
    """

    CONVERGED = "converged: the tolerance is met"
    TRUNCATED = (
        "the steps that were asked for are done, and no tolerance says whether they were enough: "
        "value and gradient are those of the iteration where it stands; see residuals"
    )
    STEPS_EXHAUSTED = (
        "the step budget ran out before the tolerance was met: raise max_steps (max_iter in the "
        "estimators), loosen tol, or start from the returned iterate"
    )
    LINE_SEARCH_FAILED = (
        "no further decrease was found along the search direction although the gradient is above "
        "tol: the value is at its rounding level; loosen tol, or compute in float64"
    )
    BLOCKED = (
        "the gradient is above tol, and the points ahead could not be evaluated (see failure): "
        "bound omega away from them (bounds=), or mend the problem there"
    )
    STOPPED = "stopped by the callback or by max_time: the last finite iterate is returned"
    INNER_NOT_CONVERGED = (
        "the inner problem was not solved to its tolerance: let the solver take more steps, "
        "increase the ridge, or compute in float64"
    )
    ADJOINT_NOT_CONVERGED = (
        "the adjoint's linear system was not solved to its tolerance, so that the gradient is off "
        "by about residuals.adjoint: let its solver take more steps, or increase the ridge"
    )
    NOT_CONVEX = (
        "the inner loss has negative curvature in the prediction at the solution found: use an "
        "inner loss that is convex in its second argument, or increase the ridge"
    )
    SINGULAR = (
        "the weighted kernel system could not be factorised even with jitter: increase the ridge, "
        "rescale the inputs, or check that the kernel is positive semi-definite"
    )
    DIVERGED = (
        "an iteration blew up: make its steps shorter (a learning rate or step size), clip the "
        "gradients (optax.clip_by_global_norm), or standardise inputs and targets"
    )
    NON_FINITE = (
        "the outer value or its gradient is not finite: bound omega (bounds=), rescale inputs and "
        "targets, or start elsewhere"
    )
    NOT_DIFFERENTIABLE = (
        "a derivative is NaN where the function itself is finite: a norm or a square root at zero, "
        "or a branch of jnp.where that is not taken; give that branch harmless arguments by a "
        "second jnp.where inside it, or start elsewhere"
    )

    HELD = (
        "the regularizer or the constraints of the inner problem hold every coefficient where it "
        "is, so that its solution does not answer to omega there, and a gradient of zero says "
        "nothing: start where it is weaker"
    )

    @property
    def ok(self) -> bool:
        """True when the result meets its tolerance."""
        return self is Status.CONVERGED

    @property
    def usable(self) -> bool:
        """True when the numbers returned may be used (they are finite and mean what they say)."""
        return self not in (
            Status.NOT_CONVEX, Status.SINGULAR, Status.DIVERGED, Status.NON_FINITE,
            Status.NOT_DIFFERENTIABLE,
        )

    @property
    def completed(self) -> bool:
        """True when the request was carried out: a tolerance met, or a number of steps made."""
        return self in (Status.CONVERGED, Status.TRUNCATED, Status.HELD)

    @classmethod
    def of_all(cls, *statuses: Status) -> Status:
        """The status of a whole: that of its worst part, the first if several are alike."""
        grade = lambda status: (status.usable, status.completed, status.ok)  # noqa: E731
        return min(statuses, key=grade)

    def __str__(self) -> str:
        return self.value


class BilevelError(RuntimeError):
    """Raised with ``throw=True``; ``.status`` says why and ``.result`` holds the partial result.

    Parameters
    ----------
    status : Status
        Its text, which says what to do, becomes the message.
    result : object, optional
        The partial result, for callers that can use it.
    hint : str, optional
        What to do about it in this case, in terms of the arguments.
    """

    def __init__(self, status: Status, result: Any = None, hint: str = ""):
        super().__init__(f"{status.name}: {status}{hint and f'. Here: {hint}'}")
        self.status = status
        self.result = result
        self.hint = hint

    def __reduce__(self):
        return type(self), (self.status, None, self.hint)


class InvalidPoint(ValueError):
    """The problem is invalid at this ω; a search rejects the step that led there."""


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
class Hypergradient:
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
class BilevelResult:
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
