"""How a computation ended, in words that say what to do about it."""

from __future__ import annotations

import enum
import warnings
from typing import Any

WARNINGS = "guide/statuses.html#warnings"


class Status(enum.Enum):
    """How a computation ended. ``str(status)`` says what to do about it.

    Attributes
    ----------
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
        "inner loss that is convex in its second argument"
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
        "is, so that small changes of omega do not change the solution, and the zero gradient does "
        "not mean that omega is good: start where the regularizer is weaker"
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

    @property
    def page(self) -> str:
        """Where the documentation explains it, with an example: a page and its section."""
        return f"guide/statuses.html#{self.name.lower().replace('_', '-')}"

    @classmethod
    def of_all(cls, *statuses: Status) -> Status:
        """The status of a whole: that of its worst part, the first if several are alike."""
        if len(set(statuses)) == 1:
            return statuses[0]
        grade = lambda status: (status.usable, status.completed, status.ok)  # noqa: E731
        return min(statuses, key=grade)

    def __str__(self) -> str:
        return self.value


def warn_explained(text, category=UserWarning, stacklevel=1):
    """Give a warning that ends with the page of the documentation that explains it."""
    warnings.warn(f"{text} (documentation: {WARNINGS})", category, stacklevel=stacklevel + 1)


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
        here = f". Here: {hint}" if hint else ""
        super().__init__(f"{status.name}: {status}{here} (documentation: {status.page})")
        self.status = status
        self.result = result
        self.hint = hint

    def __reduce__(self):
        return type(self), (self.status, None, self.hint)


class InvalidPoint(ValueError):
    """The problem is invalid at this ω; a search rejects the step that led there."""
