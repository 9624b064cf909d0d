"""One evaluation of a search, from which the history, the log and the best iterate are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..result import Residuals, Status


class Evaluation(NamedTuple):
    """L and ∇L at a flat ω, and how they were found.

    Attributes
    ----------
    point : ndarray (q,)
    value : float
        L(ω).
    grad : ndarray (q,)
        ∇L(ω); NaN where only the value was asked for.
    residuals : Residuals
    status : Status
    seconds : float
        Wall time from the start of the search to the end of this evaluation.
    part : float
        The share of the samples that was seen.
    function : callable or None
        h; None for an evaluation that was read from a log.
    """

    point: np.ndarray
    value: float
    grad: np.ndarray
    residuals: Residuals
    status: Status
    seconds: float
    part: float = 1.0
    function: Callable | None = None

    @property
    def has_grad(self) -> bool:
        """Whether the gradient was asked for."""
        return not np.isnan(self.grad).all()
