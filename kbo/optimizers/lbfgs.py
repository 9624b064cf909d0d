"""L-BFGS with bounds, which may begin on parts of the samples."""

from __future__ import annotations

import functools

import equinox as eqx

from ..result import Status
from .base import Optimizer, OutOfTime, projected_gradient, stationary
from .box_search import BoxSearch

PROMISE = 1e-2  # of L: what a step on a part must be good for


class LBFGS(Optimizer):
    """ω ← P(ω − sB⁻¹∇L): L-BFGS in a box, on L or on log L.

    The first s tried of all gives a step of length 1. Where the steps have become small although
    the gradient g promises more (½‖g‖² > ftol), or a line search has failed, the curvature
    remembered is to blame as often as not (L need not be convex): the search then begins anew from
    there, until that brings nothing.

    Parameters
    ----------
    max_steps : int
        Accepted steps allowed, on the whole and on each part.
    tol : float
        Stop when the norm of the projected gradient is at most tol.
    ftol : float
        Stop when two steps in a row lower L by at most ftol·|L(ω₀)| (with ``log``: ftol·L) each,
        ω₀ where the search of the whole begins.
    memory : int
        Pairs of steps and changes of ∇L kept.
    log : bool
        Minimise log L: for criteria that are never negative and fall by orders of magnitude.
    parts : sequence of float
        Shares of the samples, such as (1/8, 1/2), to search first, each from where the last one
        led and with the curvature learned there: what a far start takes is then done at little
        cost. A part is left once a step promises less than a hundredth of L; where the whole has
        no value there, it begins where an earlier part led, or at the start. The rows are drawn
        once, and every replicate (fold) must keep some weight among them. The history begins with
        the whole, ``evaluations`` count the parts' as well.

    References
    ----------
    Nocedal, Wright (2006), Numerical Optimization, Section 7.2.
    Bertsekas (1982), Projected Newton Methods for Optimization Problems with Simple Constraints.
    """

    max_steps: int = 200
    tol: float = 1e-6
    ftol: float = 1e-10
    memory: int = 10
    log: bool = False
    parts: tuple[float, ...] = eqx.field(static=True, converter=tuple, default=())

    def __check_init__(self):
        if not all(0 < part < 1 for part in self.parts):
            raise ValueError(f"parts={self.parts} must be shares of the samples, between 0 and 1")

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """See Optimizer."""
        search = BoxSearch(evaluate, self.log, lower, upper, self.memory)
        starts = [omega]
        for part in self.parts:
            search.evaluate = functools.partial(evaluate, part=part)
            starts.append(self._explore(search, starts[-1]))
        search.evaluate = evaluate
        for start in starts[::-1]:
            if search.begin(start):
                return self._descend(search, report)
            search.pairs.clear()
        return Status.NON_FINITE

    def _explore(self, search, omega):
        """Where a part leads."""
        try:
            if not search.begin(omega):
                return omega
            for _ in range(self.max_steps):
                if stationary(search.point, search.grad, search.lower, search.upper, self.tol):
                    break
                unit = 1.0 if self.log else abs(search.value)
                if search.pairs and search.promise() <= PROMISE * unit:
                    break
                if search.step() is None:
                    break
        except OutOfTime:
            pass
        return search.point

    def _descend(self, search, report):
        """Steps until one of the reasons to stop."""
        start = abs(search.value) or 1.0
        steps, small, gained = 0, 0, False  # since the curvature was last forgotten
        while True:
            if stationary(search.point, search.grad, search.lower, search.upper, self.tol):
                return Status.CONVERGED
            if steps == self.max_steps:
                return Status.STEPS_EXHAUSTED
            enough = self.ftol * (abs(search.value) if self.log else start)
            drop, ended = search.step(), None
            if drop is None:
                ended = Status.LINE_SEARCH_FAILED
            else:
                steps += 1
                report(search.point)
                gained |= drop > enough
                small = 0 if drop > enough else small + 1
                ended = Status.CONVERGED if small == 2 else None
            if ended is None:
                continue
            slope = search.slope / (1.0 if self.log else start)
            rest = projected_gradient(search.point, slope, search.lower, search.upper)
            flat = 0.5 * rest @ rest <= self.ftol
            if ended is Status.CONVERGED and flat:
                return ended
            if not gained:  # the gradient promises more than was found
                return Status.BLOCKED if search.blocked else Status.LINE_SEARCH_FAILED
            search.pairs.clear()
            small, gained = 0, False
