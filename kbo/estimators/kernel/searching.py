"""The search of an estimator: starts, moving bounds, restarts and time limits."""

from __future__ import annotations

import time
from dataclasses import replace

import jax
import numpy as np

from ...optimizers import LBFGS, InStages
from ...result import BilevelError, Status
from ...search.verbs import search
from ...solvers import Exact
from .._common.bounds import bound_texts, moved_bounds
from .._common.copies import warn_of_copies
from .._common.start import lengthscale_of
from .held_out import SEEDS, cv_loss
from .reporting import Reporting
from .second_opinion import SecondOpinion, ends_of_stages
from .task import Task
from .tuning import better_start, errors_by_name

WIDENINGS = 2
EARLY = 1e-3  # tol of the stages before the last: where they end is but a start
PART = 512  # number of samples on which a search with a time limit begins


class Searching(Reporting, SecondOpinion):
    """The part of the estimators that minimises the criterion.

    Class attributes
    ----------------
    _log_criterion : bool
        Whether the logarithm is minimised of a criterion that is never negative.
    _robust : bool
        Whether a robust loss is used; ``better_start`` then tries a longer lengthscale too.
    """

    _log_criterion = False
    _robust = False

    def _search(self, model, criterion, X, targets, whole, classifier, groups):
        """Search from the start and from ``n_restarts`` others; the best ω, and its model.

        ``whole`` is the session of the model on all samples; ``groups`` are those of samples.
        """
        X, targets = X[criterion.order], tuple(target[criterion.order] for target in targets)
        if groups is None:
            warn_of_copies(X, targets[1], criterion.weight, stacklevel=4)
        self.n_evaluations_, self.history_ = 0, []
        self._interrupted, self._stage_ends = False, {}
        task = Task(model, criterion, X, targets, whole, self._log_criterion)
        with self._hint(task):
            task = self._in_units_of_residuals(task)
            if task.kind == "mean" and self._log_criterion:  # a loss of unknown units
                size = abs(task.plain().value(task.model.start()))
                task = replace(task, size=size if np.isfinite(size) and size > 0 else 1.0)
            model = task.model
            ended = self._with_little_time(task) or self._from_all_starts(task)
            if self.criterion == "auto" and ended[0].status.usable and not self.standard_errors:
                task, ended = self._kept_of(task, ended, classifier, groups)
        best, bounds, rejected = ended
        self.n_parameters_ = self._count_tuned(task.model, getattr(self, "kept_", None))
        self.n_iter_ = max(1, best.n_steps)
        self.status_ = best.status.name
        self.criterion_ = task.shown(best.value)
        if best.status.usable:
            self.cv_loss_ = self._held_out(task, best.omega, classifier, groups)
        self._judge(best, rejected)
        if self.standard_errors and best.status.usable:
            try:
                session = task.near(best.omega)
                self.standard_errors_ = errors_by_name(session, model, best.omega, bounds)
            except BilevelError as error:
                if self.error_score == "raise":
                    raise
                self._warn(f"no standard errors: {error}")
        return best.omega, model

    def _held_out(self, task, omega, classifier, groups):
        """The loss on folds that the search has not seen; on the user's, if these are given."""
        own = not (self._draws_folds() or isinstance(self.cv, str))
        if own and self.criterion in ("auto", "cv"):
            return task.plain().value(omega)
        return cv_loss(self._in_time(task, groups), omega, SEEDS, classifier, groups)

    def _in_time(self, task, groups):
        """The task to judge by: a part of it where ``max_time`` is used up."""
        late = self.max_time is not None and (self._interrupted or self._time_left() <= 0)
        return (task.part(PART) if late and groups is None else None) or task

    def _in_units_of_residuals(self, task):
        """The task, for regressors with robust losses scaled by the held-out residuals."""
        return task

    # -- starts, bounds and time ----------------------------------------------------------------

    def _from_all_starts(self, task, start=None):
        """Search from every start: the best result, its bounds, and the number of rejected steps.

        ``start`` replaces the choice of the first start.
        """
        model, bounds = task.model, task.bounds()
        level, found = np.inf, None
        if start is None and self._time_left() > 0:
            level, found = better_start(task, self._robust, self._time_left)
            start = found
        tied = start is None or start is found
        starts = [("", 0, model.start() if start is None else start)]
        if model.has_lengthscale:  # otherwise every start would be the same
            starts += [
                (f".{k}", k, model.scaled_start(2.0**-k)) for k in range(1, self.n_restarts + 1)
            ]
        best, best_bounds, rejected = None, bounds, 0
        while starts:
            suffix, restart, start = starts.pop(0)
            result, ends = self._in_moving_bounds(task, bounds, restart, start, suffix, tied)
            rejected += result.n_rejected
            if not suffix:
                moved = np.isfinite(level) and any(map(np.any, jax.tree.leaves(start)))
                first = self.history_[0]["value"] if self.history_ else task.shown(level)
                self.criterion_start_ = task.shown(level) if moved else first
            if best is None or result.value < best.value:
                best, best_bounds = result, ends
            if result.status is Status.STOPPED:
                break
        return best, best_bounds, rejected

    def _in_moving_bounds(self, task, bounds, restart, start, suffix, tied=False, labels=None):
        """A search that goes on with wider bounds if it ended at a bound; and the last bounds.

        Bounds are relative to the start, not set by the user, so they may be moved. The user is
        warned of the last one only if moving a bound has lowered L.
        """
        result = self._minimize(task, bounds, restart, start, suffix, tied, labels)
        paid = False
        for k in range(1, WIDENINGS + 1):
            wider = moved_bounds(result.omega, bounds, task.model.reaches())
            if wider is None or result.status not in (
                Status.CONVERGED, Status.LINE_SEARCH_FAILED
            ):
                return result, bounds
            known = self.history_[:]
            more = self._minimize(
                task, wider, restart, result.omega, f"{suffix}.wider{k}", labels=labels
            )
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
                "without noise. Give a start beyond that end (alpha=, lengthscale=, or a kernel or "
                "loss with start values of its own), which moves the range, or leave the name out "
                "of tune= to keep the parameter fixed"
            )

    def _with_little_time(self, task):
        """Search under ``max_time``, first on a part of the samples; as ``_from_all_starts``.

        The search goes on from the end on the part with all samples, if an evaluation of these
        fits into the time left. Otherwise the result on the part is final, which a warning says.
        Returns None without ``max_time``, or if there are too few samples to begin on a part.
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
        each = later or time.perf_counter() - began  # the first evaluation includes compilation
        power = 3 if isinstance(task.whole.solver, Exact) else 1
        needed = each * (len(task.X) / len(few.X)) ** power
        if best.status.usable and needed < self._time_left():
            self.history_, self._stage_ends = [], {}
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

    def _minimize(self, task, bounds, restart, start, suffix, tied=False, labels=None):
        """One search; in stages if ``tied``, and with ``labels`` of what moves together (q,)."""
        checkpoint = self.checkpoint
        if checkpoint is not None:
            checkpoint = f"{checkpoint}{task.suffix}{'.part' if task.is_part else ''}{suffix}"
        optimizer = LBFGS(self.max_iter, tol=0.0, ftol=self.tol, log=task.kind != "mean")
        # Learned centres would follow the level that the first stage finds.
        staged = tied and task.model.center_shape is None
        if staged:
            stages = tuple(task.model.stages().values())
            optimizer = InStages(stages, optimizer, looser=max(1.0, EARLY / self.tol))
        elif labels is not None:
            optimizer = InStages((labels,), optimizer, freely=False)
        result = search(
            task.session, start, bounds=bounds, throw=False,
            max_time=None if self.max_time is None else self._time_left(),
            optimizer=optimizer, callback=self._record(task, restart), progress=self.verbose > 0,
            checkpoint=checkpoint,
        )
        self.n_evaluations_ += result.n_evaluations
        if staged and not suffix:
            self._stage_ends = ends_of_stages(task.model, result)
        return result

    def _time_left(self):
        """Seconds left of max_time, possibly negative; every search may evaluate once anyway."""
        return self._ends - time.perf_counter()

    def _record(self, task, restart):
        earlier = self.history_[-1]["seconds"] if self.history_ else 0.0
        evaluations = self.n_evaluations_

        def record(step):
            kernel = task.model.kernel_at(step.omega)
            entry = {
                "restart": restart, "value": task.shown(step.value), "grad_norm": step.grad_norm,
                "seconds": earlier + step.seconds, "evaluations": evaluations + step.evaluations,
                "alpha": task.model.alpha_at(step.omega),
                "lengthscale": lengthscale_of(kernel),
            }
            self.history_.append(entry)
            self._interrupted = self.callback is not None and bool(self.callback(dict(entry)))
            return self._interrupted

        return record
