"""L-BFGS with bounds, which may begin on parts of the samples."""

from __future__ import annotations

import functools

import equinox as eqx

from ..result import Status
from .base import Optimizer, OutOfTime, projected_gradient, stationary
from .box_search import BoxSearch

PROMISE = 1e-2  # share of L by which a step on a part must be predicted to lower it


class LBFGS(Optimizer):
    """ω ← P(ω − sB⁻¹∇L): L-BFGS in a box, on L or on log L.

    The first step tried has length 1. When steps become small although the gradient g promises more
    (½‖g‖² > ftol), or when a line search fails, the cause is often the stored curvature, since L
    need not be convex. The search then drops it and restarts from that point, until a restart
    brings no progress. Where a solver may be ``loose``, four trials without a decrease make its
    tolerance ten times tighter, and the search ends only at the solver's own tolerance.

    Parameters
    ----------
    max_steps : int
        Accepted steps allowed, on the whole and on each part.
    tol : float
        Stop when the norm of the projected gradient is at most tol.
    ftol : float
        Stop when two steps in a row each lower L by at most ftol times its size at the start of the
        search on the whole (with ``log``: ftol·L).
    memory : int
        How many pairs of steps and changes of ∇L are kept.
    log : bool
        Minimise log L, for criteria that are never negative and fall by orders of magnitude.
    parts : sequence of float
        Shares of the samples, such as (1/8, 1/2), to search on first. Each search starts where the
        last one ended, with the curvature learned there, so that the way from a distant start costs
        little. A part is left once a step is predicted to lower L by less than a hundredth. If the
        whole has no value at that point, its search starts where an earlier part ended, or at the
        start. The rows are drawn once, and every replicate (fold) must keep some weight among them.
        The history begins with the whole; ``evaluations`` counts those on parts as well.

    References
    ----------
    Nocedal, Wright (2006), Numerical Optimization, Section 7.2.
    Bertsekas (1982), Projected Newton Methods for Optimization Problems with Simple Constraints.
    Salehi, Mukherjee, Roberts, Ehrhardt (2024), An Adaptively Inexact First-Order Method for
    Bilevel Optimization with Application to Hyperparameter Learning (arXiv 2308.10098), Algorithm
    3.1: a line search that fails asks for more accurate values.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> jax.config.update("jax_enable_x64", True)
    >>> x = jnp.linspace(0.0, 6.0, 30)
    >>> y = jnp.sin(x)
    >>> problem = kbo.BilevelProblem(
    ...     kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x[::2], y[::2]),
    ...     kbo.Sample(x[1::2], y[1::2]), kbo.RKHS(kbo.kernels.Gaussian()), ridge=jnp.exp)
    >>> optimizer = kbo.optimizers.LBFGS(max_steps=2)
    >>> result = kbo.minimize(problem, jnp.array(-3.0), optimizer=optimizer)
    >>> result.status.name, result.n_steps
    ('STEPS_EXHAUSTED', 2)
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
        """Search on each part, then on the whole; see Optimizer.run."""
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
        """The point at which the search on a part ends."""
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
        """Step until one of the criteria to stop is met."""
        start = abs(search.value) or 1.0
        steps, small, gained = 0, 0, False  # the last two since the pairs were last dropped
        while True:
            if stationary(search.point, search.grad, search.lower, search.upper, self.tol):
                if search.tighten(0.0):
                    continue
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
                if search.tighten(0.0):
                    small = 0
                    continue
                return ended
            if not gained:  # a restart brought nothing, although the gradient promises more
                return Status.BLOCKED if search.blocked else Status.LINE_SEARCH_FAILED
            search.pairs.clear()
            small, gained = 0, False
