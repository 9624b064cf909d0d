"""What a search tells its user: warnings at its end, and a hint if it takes long."""

from __future__ import annotations

import contextlib
import sys
import threading

from ...result import Status

PATIENCE = 30.0  # seconds after which a hint about the search is printed


class Reporting:
    """The part of the estimators that warns."""

    def _judge(self, best, rejected):
        """Raise an error or warn if the search did not end properly."""
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
        if best.status is Status.STEPS_EXHAUSTED:
            self._warn(
                f"the search ended after max_iter={self.max_iter} steps, before its tol={self.tol} "
                "was met: raise max_iter"
            )
        elif not best.status.ok and best.status is not Status.STOPPED:
            self._warn(str(best.status))

    def _warn(self, text):
        """Give a ConvergenceWarning at the end of ``fit``, once for each text."""
        self._said[text] = None

    @contextlib.contextmanager
    def _hint(self, task):
        """Print a hint after PATIENCE seconds if there is neither a progress bar nor a limit."""
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
        n, d = len(task.X), self.n_features_in_  # X may have columns of zeros beside the table's
        outputs = task.model.n_outputs or 1
        solver, steps = task.whole.solver, len(self.history_)
        smaller = "" if task.kind == "nats" else "solver='nystrom' with few n_centers, "
        print(
            f"{type(self).__name__}.fit has tuned for {PATIENCE:.0f} s ({n} samples, {d} features, "
            f"{outputs} outputs, {solver}; {steps} of usually 5 to 40 steps). "
            f"verbose=1 shows progress, max_time= ends it; cheaper are {smaller}loss='squared', "
            "cv=2 and ard=False.", file=sys.stderr, flush=True,
        )
