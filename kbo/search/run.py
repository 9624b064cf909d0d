"""One run of an outer optimiser: what is evaluated, remembered, logged and reported."""

from __future__ import annotations

import dataclasses
import time

import jax
import numpy as np

from ..arithmetic import raveled
from ..hypergradients.sampling import on_rows
from ..optimizers import OutOfTime, ProximalGradient
from ..regularizers import Regularizer
from ..result import Cost, Hypergradient, InvalidPoint, Status, StepRecord
from .evaluation import Evaluation
from .session import nothing

HISTORY_SIZE = 100_000  # numbers in ω up to which a history holds every ω
LEAST_PART = 16  # rows


class Stop(Exception):
    """Raised through an optimiser when the callback asks to stop, or time is up."""


class Run:
    """Evaluations behind an optimiser: log, history, best iterate, warm start, progress.

    Values that are not ``comparable`` depend on draws, on what was solved before, or on how well.
    ``rest`` is the optimiser's.
    """

    def __init__(
        self, session, lower, upper, log, callback, max_time, progress, comparable, rest
    ):
        self.session = self._seen = session  # the whole problem, and what is evaluated now
        self.flat, self.unravel = raveled(session.omega)
        self.lower, self.upper = lower, upper
        self.log, self.callback, self.progress = log, callback, progress
        self.max_time = np.inf if max_time is None else max_time
        self.history: list[StepRecord] = []
        self.evaluations = self.rejected = 0
        self.state, self.cost, self.last = None, Cost(0, 0), None
        self._part = 1.0
        self.ratio, self._tightness, self._first_norm = 1.0, 1.0, 0.0
        self._by_values, self._held_to = False, None
        self.comparable = comparable
        self.best: Evaluation | None = None
        self.accepted: Evaluation | None = None
        self.failure, self._blame = None, ""
        self.earlier = log.row(len(log) - 1).seconds if len(log) else 0.0
        self.started = time.perf_counter()
        self._rest = rest
        self._recent: list[tuple[Evaluation, float | None]] = []

    def seconds(self):
        return self.earlier + time.perf_counter() - self.started

    def evaluate(self, point, accuracy=None, gradient=True, part=1.0, tighten=None):
        """L and ∇L at a flat point; +inf (and the reason kept) where they cannot be had.

        See Optimizer for ``accuracy``, ``gradient``, ``part`` and ``tighten``.
        """
        self._by_values |= not gradient
        if part != self._part:
            self._turn_to(part)
        if tighten is not None:
            if not self._is_loose():
                return None
            self._tightness *= tighten
        tol = self._tolerance()
        known = self.evaluations < len(self.log)
        found = self._replayed(point) if known else self._computed(point, accuracy, gradient)
        self.evaluations += 1
        self.rejected += not found.status.usable
        if not found.status.usable:
            self.failure = found.status
            return np.inf, np.zeros_like(found.grad)
        if not found.status.completed:
            self.failure = found.status
        if part == 1:
            self._see(found, tol)
            if tighten is not None:
                self._accept(found, tol)
        return found.value, found.grad if found.has_grad else None

    def hint(self, status):
        """What to do about the status of the whole search, whose last failure may be to blame."""
        causes = [self.session.hint(status)]
        if status in (Status.BLOCKED, Status.LINE_SEARCH_FAILED, Status.STEPS_EXHAUSTED):
            causes += self._causes(status)
        return "; ".join(filter(None, causes))

    def _causes(self, status):
        """Why a search may have ended above its tolerance."""
        if self.failure is not None and status is not Status.STEPS_EXHAUSTED:
            yield f"an evaluation failed, {self.failure.name}{self._blame and ': ' + self._blame}"
        if status is Status.BLOCKED:
            return
        penalty, method = self.session.problem.penalty, self.session.method
        smooth = not isinstance(self._rest.__self__, ProximalGradient)
        if isinstance(penalty, Regularizer) and smooth:
            yield (
                f"penalty={type(penalty).__name__} has kinks, beyond which no step along a "
                "gradient leads: give optimizer=kbo.optimizers.ProximalGradient()"
            )
        if status is Status.LINE_SEARCH_FAILED and not method.comparable(self.session.solver):
            yield (
                f"values by {type(method).__name__} depend on the earlier ones, which a line "
                "search cannot compare: give optimizer=kbo.optimizers.Optax(optax.adam(rate))"
            )

    def _loosened(self, ratio):
        """The session at the tolerance for a gradient that is ``ratio`` times the first one."""
        # Values alone are compared as they are, and so is the gradient at the lowest.
        return self._seen if self._by_values else self._seen.loosened(ratio)

    def _tolerance(self):
        """The solver's tolerance now."""
        return self._loosened(self.ratio * self._tightness).solver.tol

    def _is_loose(self):
        """Whether the point where the optimiser stands was not evaluated to the solver's own."""
        held = self._tolerance() if self._part < 1 else self._held_to
        return held != self._loosened(0.0).solver.tol

    def _replayed(self, point) -> Evaluation:
        """The next evaluation of the log."""
        found = self.log.row(self.evaluations)
        if self._part < found.part:  # here the time was up
            raise OutOfTime
        if self._part != found.part or not np.array_equal(found.point, point):
            raise ValueError(
                "the checkpoint does not follow from this start, or the optimizer's steps depend "
                "on its max_steps, which was another: delete it"
            )
        self.state = self.log.warm_start
        return found

    def _computed(self, point, accuracy, gradient) -> Evaluation:
        """A new evaluation, written to the log; its point is ours, not the optimiser's to change.
        """
        if self.seconds() > self.max_time:
            if self._part < 1:
                raise OutOfTime
            if self.history:
                raise Stop
        at = self.tree(point)
        try:
            result = self._result(at, accuracy, gradient)
        except InvalidPoint as error:
            if not self.evaluations:
                raise
            result = nothing(at, Status.NON_FINITE, str(error))
        if not result.status.completed:
            self._blame = result.hint
        self.cost = self.cost + self._part * (result.cost or Cost(0, 0))
        self.last = result
        self.state = result.state if result.status.usable else self.state
        found = Evaluation(
            np.array(point), result.value, np.asarray(raveled(result.grad)[0], float),
            result.residuals, result.status, self.seconds(), self._part, result.inner,
        )
        if self.log.kept:  # a warm start may be as large as a network
            method, solver = self.session.method, self.session.solver
            self.log.append(found, method.warm_start(solver, self.state))
        return found

    def _turn_to(self, part):
        """The problem on a share of its samples, or the whole; the warm start is another's."""
        self._part, self.state, self._seen = part, None, self.session
        self.ratio = self._tightness = 1.0
        if part < 1:
            whole = self.session.first
            sizes = [
                max(LEAST_PART, round(part * sample.size)) for sample in (whole.inner, whole.outer)
            ]
            problem = on_rows(whole.problem, sizes, [0], whole.shared)
            self._seen = self.session.on_part(problem)

    def _see(self, seen, tol):
        """Remember an evaluation of the whole problem; the first is reported at once."""
        self._recent.append((seen, tol))
        if self.comparable and self._is_best(seen):
            self.best = seen._replace(function=None)
        if not self.history:
            self.report(seen.point)

    def _is_best(self, seen):
        """Lower than all before, or the lowest once more, now with its gradient."""
        if self.best is None or seen.value < self.best.value:
            return True
        return not self.best.has_grad and np.array_equal(seen.point, self.best.point)

    def _result(self, at, accuracy, gradient) -> Hypergradient:
        """One evaluation; without a gradient, NaN in its place and nothing known but the value."""
        session = self._loosened(self.ratio * self._tightness)
        if accuracy is not None:
            session = session.within(accuracy)
        if gradient:
            return session.evaluate(at, self.state)
        found = session.value(at)
        status = Status.CONVERGED if np.isfinite(found) else Status.NON_FINITE
        grad = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan), at)
        return dataclasses.replace(
            nothing(at, status), value=found, grad=grad, inner=None, state=self.state
        )

    def report(self, point):
        """Record an accepted iterate; let the callback see it."""
        found, tol = next(
            one for one in self._recent[::-1] if np.array_equal(one[0].point, point)
        )
        self._accept(found, tol)
        self._recent = [(found, tol)]
        norm = self.grad_norm(found)
        # All points of a line search are evaluated to the same tolerance.
        size = norm if np.isfinite(norm) else 0.0
        self._first_norm = self._first_norm or size
        self.ratio = size / (self._first_norm or 1.0)
        large = found.point.size > HISTORY_SIZE
        seen = self.callback is not None or not large
        record = StepRecord(
            step=len(self.history), omega=self.as_tree(found.point) if seen else None,
            value=found.value, grad_norm=norm, residuals=found.residuals, seconds=found.seconds,
            evaluations=self.evaluations, cost=self.cost,
        )
        self.history.append(dataclasses.replace(record, omega=None) if large else record)
        if self.progress is not None:
            self.progress.set_postfix(value=f"{found.value:.6g}", grad=f"{norm:.1e}")
            self.progress.update()
        if self.callback is None:
            return
        # The history keeps no functions: they may be networks.
        if self.callback(dataclasses.replace(record, function=found.function)):
            raise Stop

    def _accept(self, found, tol):
        """Keep where the optimiser stands, which is the best where values do not compare."""
        self.accepted, self._held_to = found._replace(function=None), tol
        if not self.comparable:
            self.best = self.accepted

    def grad_norm(self, found) -> float:
        """‖ω − P(ω − ∇L)‖ of an evaluation; infinite where ∇L was not computed."""
        if not found.has_grad:
            return np.inf
        rest = self._rest(found.point, found.grad, self.lower, self.upper, self.tree)
        return float(np.linalg.norm(rest))

    def tree(self, point):
        """The floating leaves of ω, in its structure."""
        return self.unravel(point)

    def as_tree(self, point):
        """ω as the user gave it."""
        return self.session.problem.whole(self.tree(point))
