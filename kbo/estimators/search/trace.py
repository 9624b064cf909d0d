"""Searches of one criterion from several starts: all their iterates, and the best result."""

from __future__ import annotations

import time

import numpy as np

from ...optimizers import LBFGS
from ...result import Status
from ...search.verbs import minimize
from .starts import POINTS, is_stuck, look_around

COLUMNS = ("outer_iter", "restart", "outer_loss", "grad_norm", "inner_residual")

REMEDIES = {  # replace the advice in Status, which is written for other callers
    Status.STEPS_EXHAUSTED: "max_iter steps did not bring it to tol: raise max_iter, or loosen tol",
    Status.INNER_NOT_CONVERGED: (
        "the estimator's own problem was not solved to its tolerance at the best parameters: "
        "narrow the range of {names} on the side of little regularization"
    ),
}


class Trace:
    """Runs the searches and records their iterates.

    Parameters
    ----------
    search : SearchProblem
    max_iter : int
    tol : float
    max_time : float or None
        Seconds for all searches together; the first evaluation of the first is always made.
    callback : callable or None
        As in HypergradientSearchCV.
    progress : bool
    strict : bool
        Whether to raise an error if a search fails, or rejects steps to points without a finite
        value.

    Attributes
    ----------
    rows : list of dict
        One for each iterate.
    best : BilevelResult or None
        The result with the lowest value.
    results : list of BilevelResult
        One for each search.
    n_evaluations : int
    flat : bool
        Whether the criterion is the same at the start and all over the ranges.
    stopped : bool
        Whether the callback asked to stop or time ran out; no further search is then begun.
    """

    def __init__(self, search, max_iter, tol, max_time, callback, progress, strict):
        self.search, self.callback = search, callback
        self.progress, self.strict = progress, strict
        self._optimizer = LBFGS(max_iter, tol=0.0, ftol=tol, log=search.nonnegative)
        self._end = np.inf if max_time is None else time.perf_counter() + max_time
        self.rows, self.results, self.best = [], [], None
        self.n_evaluations, self.flat = 0, False
        self.stopped = self.out_of_time = False

    def run(self, start):
        """Run one search from ``start``, unless the searches have been stopped.

        Raises
        ------
        ValueError
            If ``strict`` is set and the search fails or rejects steps.
        """
        if self.stopped or (self.results and self._is_late()):
            return
        left = self._end - time.perf_counter()
        result = minimize(
            self.search.problem, start, method=self.search.method, bounds=self.search.bounds(),
            throw=False, progress=self.progress, callback=self._record, optimizer=self._optimizer,
            max_time=None if left == np.inf else max(left, 0.0),
        )
        self.results.append(result)
        self.n_evaluations += result.n_evaluations
        if self.best is None or result.value < self.best.value:
            self.best = result
        if result.status is Status.STOPPED and not self.stopped:  # by time, not by the callback
            self.stopped = self.out_of_time = True
        if self.strict and (result.n_rejected or not result.status.usable):
            raise ValueError(f"the search failed: {result.failure or result.status}")

    def run_from_elsewhere(self):
        """Run another search if the first one was stuck and ``look_around`` finds a start."""
        start = self.search.start()
        if self.stopped or not is_stuck(self.search, start, self.best):
            return
        look = look_around(self.search, self.best, self._in_time)
        if self._is_late():
            return
        self.flat = look.flat
        if look.start is not None:
            self.run(look.start)

    def _in_time(self):
        return time.perf_counter() < self._end

    def _is_late(self):
        """Whether time has run out with work left to do; if so, this is recorded."""
        late = not self._in_time()
        self.stopped |= late
        self.out_of_time |= late
        return late

    def _record(self, step):
        parameters = self.search.parameters(step.omega)
        if self.rows:  # the first row keeps the estimator's own values
            parameters = self.search.finished(parameters)
        row = {
            "restart": len(self.results), "outer_iter": step.step, "outer_loss": step.value,
            "grad_norm": step.grad_norm, "inner_residual": step.residuals.inner,
            "seconds": step.seconds, "params": parameters,
        }
        self.rows.append(row)
        self.stopped = self.callback is not None and bool(self.callback(dict(row)))
        return self.stopped

    def complaints(self, max_time):
        """Yield the warnings that the user should see about the searches."""
        if self.flat:
            shown = ", ".join(f"{k}={v}" for k, v in self.rows[0]["params"].items())
            yield (
                f"the criterion is flat: it is the same at the start ({shown}) and at {POINTS} "
                "other points of param_space, so that no gradient says where to go: standardise X "
                "(StandardScaler, in a Pipeline) or give param_space other, wider ranges"
            )
        if self.out_of_time:
            yield (
                f"max_time={max_time:g} s ran out after {self.n_evaluations} evaluations in "
                f"{len(self.results)} searches: the best parameters so far are used; raise "
                "max_time, or give fewer samples or folds"
            )
        elif not (self.best.status.ok or self.stopped or self._at_rounding()):
            status = self.best.status
            remedy = REMEDIES.get(status, str(status))
            yield f"the search ended with {status.name}: " + remedy.replace(
                "{names}", ", ".join(self.rows[0]["params"]))

    def _at_rounding(self):
        """Whether the line search failed where the gradient promises no gain beyond ``tol``."""
        promised = 0.5 * (self.best.grad_norm / (abs(self.best.value) or 1.0)) ** 2
        return self.best.status is Status.LINE_SEARCH_FAILED and promised <= self._optimizer.ftol
