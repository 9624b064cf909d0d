"""L-BFGS with bounds."""

from __future__ import annotations

import numpy as np
import scipy.optimize

from ..result import Status
from .base import Optimizer, projected_gradient, stationary


class LBFGS(Optimizer):
    """L-BFGS with bounds: SciPy's L-BFGS-B on the host, on L or on log L.

    The objective is scaled so that its first gradient, and so the first step tried, has length 1.
    Where the steps have become small although the gradient g promises more (½‖g‖² > ftol), or a
    line search has failed, the curvature remembered is to blame as often as not (L need not be
    convex): the search then begins anew from there, until that brings nothing.

    A point at which L is not finite is answered with a steep bowl around the last iterate, so
    that the line search turns back before it.

    Parameters
    ----------
    max_steps : int
        Accepted steps allowed.
    tol : float
        Stop when the norm of the projected gradient is at most tol.
    ftol : float
        Stop when two steps in a row lower L by at most ftol·|L(ω₀)| (with ``log``: ftol·L) each.
    memory : int
        Corrections kept.
    log : bool
        Minimise log L: for criteria that are never negative and fall by orders of magnitude.

    References
    ----------
    Byrd, Lu, Nocedal, Zhu (1995), A Limited Memory Algorithm for Bound Constrained Optimization.
    """

    max_steps: int = 200
    tol: float = 1e-6
    ftol: float = 1e-10
    memory: int = 10
    log: bool = False

    def run(self, evaluate, report, omega, lower, upper):
        """See Optimizer."""
        value, grad = evaluate(omega)
        if not np.isfinite(value):
            return Status.NON_FINITE
        if stationary(omega, grad, lower, upper, self.tol):
            return Status.CONVERGED
        start = abs(value) or 1.0

        def plain(value, grad):
            if not self.log:
                return value / start, grad / start
            positive = max(value, 1e-30 * start)
            return np.log(positive), grad / positive

        steps = 0
        while True:
            slope = projected_gradient(omega, plain(value, grad)[1], lower, upper)
            status, path = self._session(
                evaluate, report, plain, (omega, value, grad), start,
                np.linalg.norm(slope) or 1.0, lower, upper, self.max_steps - steps,
            )
            omega, value, grad = path[-1]
            steps += len(path) - 1
            drops = -np.diff([point[1] for point in path])
            idle = (drops <= self._enough(value, start)).all()
            slope = projected_gradient(omega, plain(value, grad)[1], lower, upper)
            done = status is Status.CONVERGED and (
                0.5 * slope @ slope <= self.ftol
                or stationary(omega, grad, lower, upper, self.tol)
            )
            if done or idle or status is Status.STEPS_EXHAUSTED:
                return status

    def _enough(self, value, start):
        """What a step lowers L by, at most, if it is small."""
        return self.ftol * (abs(value) if self.log else start)

    def _session(
        self, evaluate, report, plain, first, start, scale, lower, upper, max_steps
    ):
        """One run of SciPy's: its status, and the start and the accepted steps."""
        path = [first]

        def objective(value, grad):
            value, grad = plain(value, grad)
            return value / scale, grad / scale

        known = {first[0].tobytes(): first[1:]}  # SciPy asks for the start again
        status, small = [], []

        def scaled(point):
            value, grad = known.pop(point.tobytes(), None) or evaluate(point)
            if np.isfinite(value):
                known.clear()
                known[point.tobytes()] = value, grad
                return objective(value, grad)
            away = point - path[-1][0]
            level = objective(*path[-1][1:])[0]
            steepness = 10 * (1 + abs(level)) / max(away @ away, 1e-300)
            return level + steepness * (away @ away), 2 * steepness * away

        def callback(intermediate_result):
            point = np.array(intermediate_result.x)
            if point.tobytes() not in known:  # the line search gave up and went back
                status.append(Status.LINE_SEARCH_FAILED)
                raise StopIteration
            value, grad = known[point.tobytes()]
            small.append(path[-1][1] - value <= self._enough(value, start))
            path.append((point, value, grad))
            report(point)
            if stationary(point, grad, lower, upper, self.tol) or (all(small[-2:]) and small[1:]):
                status.append(Status.CONVERGED)
                raise StopIteration

        solved = scipy.optimize.minimize(
            scaled, first[0], jac=True, method="L-BFGS-B", callback=callback,
            bounds=scipy.optimize.Bounds(lower, upper),
            options={
                "maxiter": max_steps, "maxfun": 20 * max_steps + 20,
                "maxcor": self.memory, "gtol": 0.0, "ftol": 0.0,
            },
        )
        if status:
            return status[0], path
        exhausted = solved.status == 1
        return Status.STEPS_EXHAUSTED if exhausted else Status.LINE_SEARCH_FAILED, path
