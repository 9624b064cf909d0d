"""The search of an estimator: starts, ranges that move, restarts, and the time it may take."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import replace

import jax
import numpy as np

from ...optimizers import LBFGS
from ...result import BilevelError, Status
from ...search.verbs import minimize
from ...solvers import Exact
from .._common.bounds import bound_texts, moved_bounds
from .task import Task
from .tuning import better_start, errors_by_name

WIDENINGS = 2
PART = 512  # samples that a search with little time begins on
PATIENCE = 30.0  # seconds without a word


class Searching:
    """The part of the estimators that minimises the criterion.

    Class attributes
    ----------------
    _log_criterion : bool
        Whether a criterion that is never negative is minimised in logs.
    _robust : bool
        Whether a loss is there to be blind to outliers: see ``better_start``.
    """

    _log_criterion = False
    _robust = False

    def _search(self, model, criterion, X, targets, solver):
        """ω at the best end of a search from the start, and from ``n_restarts`` others; its model.
        """
        X, targets = X[criterion.order], tuple(target[criterion.order] for target in targets)
        self.n_evaluations_, self.history_ = 0, []
        self._interrupted = False
        task = Task(model, criterion, X, targets, solver)
        with self._hint(task):
            task = self._in_units_of_residuals(task)
            model = task.model
            ended = self._with_little_time(task) or self._from_all_starts(task)
        best, bounds, rejected = ended
        self.n_iter_ = max(1, best.n_steps)
        self.status_ = best.status.name
        self.criterion_ = float(best.value)
        self._judge(best, rejected)
        if self.standard_errors and best.status.usable:
            try:
                self.standard_errors_ = errors_by_name(
                    model, task.problem, best.omega, solver, task.method, bounds
                )
            except BilevelError as error:
                if self.error_score == "raise":
                    raise
                self._warn(f"no standard errors: {error}")
        return best.omega, model

    def _in_units_of_residuals(self, task):
        """The task with losses that start from the scale of what is held out."""
        return task

    # -- where it goes --------------------------------------------------------------------------

    def _from_all_starts(self, task, start=None):
        """The best result, its bounds, and how many steps were rejected."""
        model, bounds = task.model, task.bounds()
        level = np.inf
        if start is None and self._time_left() > 0:
            level, start = better_start(
                model, task.method, task.problem, task.solver, self._robust
            )
        starts = [("", 0, model.start() if start is None else start)]
        if model.has_lengthscale:  # or every start would be the same
            starts += [(f".{k}", k, model.shorter(k)) for k in range(1, self.n_restarts + 1)]
        best, best_bounds, rejected = None, bounds, 0
        while starts:
            suffix, restart, start = starts.pop(0)
            result, ends = self._in_moving_bounds(task, bounds, restart, start, suffix)
            rejected += result.n_rejected
            if not suffix:
                moved = np.isfinite(level) and any(map(np.any, jax.tree.leaves(start)))
                first = self.history_[0]["value"] if self.history_ else level
                self.criterion_start_ = level if moved else first
            if best is None or result.value < best.value:
                best, best_bounds = result, ends
            if result.status is Status.STOPPED:
                break
        return best, best_bounds, rejected

    def _in_moving_bounds(self, task, bounds, restart, start, suffix):
        """A search, continued where bounds that it ended at were in its way; and the last bounds.

        A bound is a start's, no wish of the user's. It is warned of only if L still fell beyond
        the one before it.
        """
        result, paid = self._minimize(task, bounds, restart, start, suffix), False
        for k in range(1, WIDENINGS + 1):
            wider = moved_bounds(result.omega, bounds, task.model.reaches())
            if wider is None or result.status not in (
                Status.CONVERGED, Status.LINE_SEARCH_FAILED
            ):
                return result, bounds
            known = self.history_[:]
            more = self._minimize(task, wider, restart, result.omega, f"{suffix}.wider{k}")
            lower = more.value < result.value - self.tol * abs(result.value)
            solved = more.status in (Status.CONVERGED, Status.STEPS_EXHAUSTED, Status.STOPPED)
            if not (lower and solved):
                self.history_ = known
                paid = lower
                break
            result, bounds, paid = more, wider, True
        if paid:
            self._warn_of_bounds(task.model, result.omega, bounds)
        return result, bounds

    def _warn_of_bounds(self, model, omega, bounds):
        lower, upper = bounds
        texts = []
        if model.tune_alpha:
            for index, log in np.ndenumerate(omega["alpha"]):
                shown = lambda end, first=model.alpha[index]: first * np.exp(end)  # noqa: E731
                name = f"alpha{list(index)}" if index else "alpha"
                ends = lower["alpha"][index], upper["alpha"][index]
                texts += bound_texts(name, log, *ends, shown)
        for part, tunable in (("kernel", model.kernel), ("inner", model.inner_loss),
                              ("outer", model.outer_loss)):
            for k, name in enumerate(tunable.names()):
                ends = omega[part][k], lower[part][k], upper[part][k]
                texts += [f"{text} times its start" for text in bound_texts(name, *ends)]
        if texts:
            self._warn(
                f"{'; '.join(texts)}: the criterion still falls there, as it does for targets "
                "without noise. Start beyond it (alpha=, lengthscale=, or a kernel or loss with "
                "numbers of its own), which moves the range, or leave the name out of tune= to "
                "hold it"
            )

    def _with_little_time(self, task):
        """The end of a search that max_time leaves no more than a part of the samples; or None.

        With ``max_time`` a search among many samples begins on a few of them, and goes on from
        where they lead if an evaluation with all of them fits into what is left of the time.
        """
        few = None if self.max_time is None else task.part(PART)
        if few is None:
            return None
        limit, began = self._ends, time.perf_counter()
        self._ends = began + 0.5 * max(limit - began, 0.0)
        found = self._from_all_starts(few)
        self._ends = limit
        best = found[0]
        seconds = [entry["seconds"] for entry in self.history_]
        later = (seconds[-1] - seconds[0]) / max(1, best.n_evaluations - 1) if seconds else 0.0
        each = later or time.perf_counter() - began  # the first compiles
        needed = each * (len(task.X) / len(few.X)) ** (3 if isinstance(task.solver, Exact) else 1)
        if best.status.usable and needed < self._time_left():
            self.history_ = []
            return self._from_all_starts(task, best.omega)
        self._interrupted = True
        done = f"it was tuned on {len(few.X)} of them" if best.n_steps else "nothing was tuned"
        cost = f" (about {needed:.1g} s each time)" if later else ""
        self._warn(
            f"max_time={self.max_time} leaves no time to evaluate the criterion of all "
            f"{len(task.X)} samples{cost}: {done}. Raise max_time, or use solver='nystrom' with "
            "few n_centers"
        )
        return replace(best, status=Status.STOPPED), *found[1:]

    # -- one descent ----------------------------------------------------------------------------

    def _minimize(self, task, bounds, restart, start, suffix):
        checkpoint = self.checkpoint
        if checkpoint is not None and (suffix or task.is_part):
            checkpoint = f"{checkpoint}{'.part' if task.is_part else ''}{suffix}"
        result = minimize(
            task.problem, start, bounds=bounds, throw=False, solver=task.solver,
            method=task.method, max_time=None if self.max_time is None else self._time_left(),
            optimizer=LBFGS(
                self.max_iter, tol=0.0, ftol=self.tol, log=self._log_criterion and task.nonnegative
            ),
            callback=self._record(task.model, restart), progress=self.verbose > 0,
            checkpoint=checkpoint,
        )
        self.n_evaluations_ += result.n_evaluations
        return result

    def _time_left(self):
        """Seconds of max_time that are left; every search may evaluate once."""
        return self._ends - time.perf_counter()

    def _record(self, model, restart):
        earlier = self.history_[-1]["seconds"] if self.history_ else 0.0
        evaluations = self.n_evaluations_

        def record(step):
            kernel = model.kernel_at(step.omega)
            entry = {
                "restart": restart, "value": step.value, "grad_norm": step.grad_norm,
                "seconds": earlier + step.seconds, "evaluations": evaluations + step.evaluations,
                "alpha": model.alpha_at(step.omega),
                "lengthscale": getattr(kernel, "lengthscale", None),
            }
            self.history_.append(entry)
            self._interrupted = self.callback is not None and bool(self.callback(dict(entry)))
            return self._interrupted

        return record

    # -- what is said ---------------------------------------------------------------------------

    def _judge(self, best, rejected):
        """Raise or warn where the search did not end as it should."""
        if self.error_score == "raise" and (rejected or not best.status.usable):
            raise ValueError(f"tuning failed: {best.failure or best.status}")
        if rejected and best.status.usable:
            self._warn(
                f"{rejected} steps without a finite criterion were rejected ({best.failure})"
            )
        if best.status is Status.STOPPED and not self._interrupted:
            nothing = "before the first step, so that nothing was tuned"
            done = f"after {best.n_steps} steps" if best.n_steps else nothing
            self._warn(
                f"max_time={self.max_time} was used up {done}. Raise max_time, or use a cheaper "
                "fit: solver='nystrom' with few n_centers, cv=2, or ard=False"
            )
        if not best.status.ok and best.status is not Status.STOPPED:
            self._warn(str(best.status))

    def _warn(self, text):
        """A ConvergenceWarning at the end of ``fit``, where each text is said once."""
        self._said[text] = None

    @contextlib.contextmanager
    def _hint(self, task):
        """Say something after a while, for a user who sees no progress and has set no limit."""
        if self.verbose or self.max_time is not None:
            yield
            return
        timer = threading.Timer(PATIENCE, self._hint_now, [task])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _hint_now(self, task):
        n, d = task.X.shape
        outputs = task.model.n_outputs or 1
        print(
            f"{type(self).__name__}.fit has tuned for {PATIENCE:.0f} s ({n} samples, {d} features, "
            f"{outputs} outputs, {task.solver}; {len(self.history_)} of usually 5 to 40 steps). "
            "verbose=1 shows progress, max_time= ends it; cheaper are solver='nystrom' with few "
            "n_centers, loss='squared', cv=2 and ard=False.", file=sys.stderr, flush=True,
        )
