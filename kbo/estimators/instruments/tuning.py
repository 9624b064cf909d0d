"""Alternating tuning of the two stages of kernel instrumental-variable regression."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg

from ...hypergradients import Implicit
from ...optimizers import LBFGS
from ...parameters import Tunable
from ...search.session import Session, prepare
from ...search.verbs import search
from ...solvers import Exact, Nystrom
from ...solvers.centers import Uniform
from .._common.solver import as_solver
from .data import distinct_rows
from .first_stage import (
    first_stage_problem,
    nystrom_features,
    principal_components,
    smoother_rows,
)
from .second_stage import (
    Seen,
    feature_root,
    second_stage_problem,
    seen_in_folds,
    seen_whole,
)

# The second stage solves Ê[y − h(X) | Z] = 0 for h. The ridge of Ê causes no bias there, but what
# it smooths away is lost, and the ridge that predicts best loses too much: the first stage
# therefore uses this fraction of it (benchmarks/first_stage.py).
UNDERSMOOTHING = 0.1
ROUNDS = 2
LOOSER = 100.0  # factor on the first stage's tolerance: errors between folds vary more than that
STILL = 0.1  # if no log parameter changes by more than this, another round would change nothing
LOG_RANGE = 5.0
# Bounds of alpha, the upper one times Σw: beyond them nothing, or everything, is smoothed away.
RIDGES = (1e-6, 1e4)
START_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
START_SHIFTS = (-0.7, 0.0, 0.7, 1.4)  # of log lengthscales
EXACT_POINTS = 512
FEW, MANY = 256, 512  # centres up to 2,000 samples, and beyond


class Stages(NamedTuple):
    """The result of tuning both stages, in standardised units.

    Attributes
    ----------
    kernel, instrument_kernel : Kernel
        With NumPy parameters.
    alpha, instrument_alpha : float
    first, second : BilevelResult or None
        The last search of each stage.
    dual : ndarray (M,)
        h = Σ_m dual_m k(c_m, ·).
    solver : Solver or None
        The solver of the first stage.
    """

    kernel: Any
    alpha: float
    dual: np.ndarray
    second: Any
    instrument_kernel: Any = None
    instrument_alpha: float | None = None
    first: Any = None
    solver: Any = None


def first_stage_solver(solver, n_centers, n, seed):
    """The solver of the first stage: "auto" is Exact for few samples and Nystrom for many.

    Everything else is read by ``as_solver``.
    """
    if not isinstance(solver, str) or solver != "auto":
        return as_solver(solver, n_centers, seed)
    as_solver(solver, n_centers, seed)  # checks n_centers
    if n <= EXACT_POINTS and n_centers is None:
        return Exact()
    default = FEW if n <= 2000 else MANY
    return Nystrom(Uniform(min(n, n_centers or default), seed))


class Stage:
    """Keeps the session of one stage, whose problem differs in numbers only between rounds.

    Parameters
    ----------
    stack : contextlib.ExitStack
        Closes the session in the end.
    """

    def __init__(self, stack):
        self._stack, self._session = stack, None

    def session(self, problem, omega, solver) -> Session:
        """The session of a problem that starts at ``omega``; ``solver`` has made its choices."""
        if self._session is None:
            prepared = prepare(problem, omega, solver, Implicit())
            self._session = self._stack.enter_context(prepared)
        else:
            self._session = self._session.of(problem, solver=solver)
        return self._session.starting_at(omega)


class Tuner(NamedTuple):
    """The samples of both stages and the settings of their tuning.

    Attributes
    ----------
    X, y, Z : ndarray (n, d), (n,), (n, q) or None
        Standardised; Z is None if all of X is exogenous.
    folds : Folds
        The samples are in the order of these folds.
    centers : ndarray (M, d)
        Distinct rows of X.
    kernel, instrument_kernel : Tunable
    judged_by_folds : bool
        Whether the criterion of the second stage is cross-validation rather than the marginal
        likelihood.
    solver : Solver
        The solver of the first stage.
    max_iter, tol, progress
        Settings of each search.
    """

    X: np.ndarray
    y: np.ndarray
    Z: np.ndarray | None
    folds: Any
    centers: np.ndarray
    kernel: Tunable
    instrument_kernel: Tunable
    judged_by_folds: bool
    solver: Any
    max_iter: int
    tol: float
    progress: bool

    def run(self) -> Stages:
        """Tune the stages in turn, until the second hardly changes or after ROUNDS rounds."""
        with contextlib.ExitStack() as stack:
            return self._run(Stage(stack), Stage(stack))

    def _run(self, stage_one, stage_two):
        first = second = solver = None
        for _ in range(ROUNDS if self.Z is not None else 1):
            previous = second
            if self.Z is not None:
                start = self.kernel.start() if second is None else second.omega["kernel"]
                first, solver = self._first(stage_one, start, first)
            problem = self._problem(first, solver)
            judged = self._problem(first, solver, True) if self.judged_by_folds else problem
            second = self._second(stage_two, judged, second)
            if previous is not None and _distance(previous.omega, second.omega) < STILL:
                break
        found = Stages(
            self.kernel.at(second.omega["kernel"], np.exp), float(np.exp(second.omega["alpha"])),
            self._dual(stage_two.session(problem, second.omega, Exact())), second,
        )
        if self.Z is None:
            return found
        kernel, alpha = self._smoothing(first)
        return found._replace(
            instrument_kernel=kernel, instrument_alpha=alpha, first=first, solver=solver,
        )

    def treatment_components(self, logs):
        """The principal components (n, COMPONENTS) of ψ(x) at the samples, for k at ``logs``."""
        features = nystrom_features(self.kernel.at(logs, np.exp), self.centers, self.X)
        return principal_components(features, self.folds.weight)

    def _first(self, stage, logs, earlier):
        """Tune the first stage for the features of k at ``logs``; the result and its solver."""
        targets = self.treatment_components(logs)
        problem = first_stage_problem(self.instrument_kernel, self.Z, targets, self.folds)
        starts = [
            {"alpha": np.array(np.log(a)), "kernel": self.instrument_kernel.start()}
            for a in START_ALPHAS
        ]
        starts = starts if earlier is None else [earlier.omega]
        solver = self.solver.fixed(problem.at(starts[0]))
        session = stage.session(problem, starts[0], solver)
        return self._search(session, starts, LOOSER * self.tol), solver

    def _smoothing(self, first):
        """k_Z and the (undersmoothing) alpha of the first stage that the second stage uses."""
        kernel = self.instrument_kernel.at(first.omega["kernel"], np.exp)
        return kernel, UNDERSMOOTHING * float(np.exp(first.omega["alpha"]))

    def instrument_centers(self, solver):
        """The solver's centres, or all distinct rows of Z."""
        if hasattr(solver, "centers"):
            return np.unique(np.asarray(solver.centers), axis=0)
        return self.Z[distinct_rows(self.Z, self.folds.weight)]

    def instrument_features(self, kernel, solver):
        """Features (n, M) of k_Z on the span of ``instrument_centers``."""
        return nystrom_features(kernel, self.instrument_centers(solver), self.Z)

    def _problem(self, first, solver, in_folds=False):
        """The second stage's problem, with one fit to all samples or one for each fold."""
        weight, folds = self.folds.weight, self.folds
        if first is None:
            parts = (folds.train, folds.test) if in_folds else (weight[None],)
            return second_stage_problem(
                self.kernel, self.centers, weight.sum(), Seen(self.X, self.y, *parts)
            )
        kernel, alpha = self._smoothing(first)
        features = self.instrument_features(kernel, solver)
        if in_folds:
            ridge = alpha / weight.sum()
            train, test = (
                [smoother_rows(features, ridge * part.sum(), part) for part in parts]
                for parts in (folds.train, folds.test)
            )
            seen = seen_in_folds(train, test, self.y)
        else:
            seen = seen_whole(smoother_rows(features, alpha, weight), self.y, weight)
        return second_stage_problem(self.kernel, self.centers, weight.sum(), seen, self.X)

    def _second(self, stage, problem, earlier):
        starts = [
            {"alpha": np.array(np.log(a)), "kernel": [log + shift for log in self.kernel.start()]}
            for a in START_ALPHAS for shift in START_SHIFTS
        ]
        starts = starts if earlier is None else [earlier.omega]
        return self._search(stage.session(problem, starts[0], Exact()), starts, self.tol)

    def _search(self, session, starts, tol):
        """Search from the start with the lowest criterion; the result is never worse than it."""
        levels = [session.value(omega) for omega in starts] if len(starts) > 1 else [0.0]
        start = starts[int(np.argmin(levels))]
        side = lambda r: [np.full(np.shape(log), r) for log in start["kernel"]]  # noqa: E731
        total = self.folds.weight.sum()
        bounds = [
            {"alpha": np.array(np.log(ridge * (1 if ridge < 1 else total))), "kernel": side(reach)}
            for ridge, reach in zip(RIDGES, (-LOG_RANGE, LOG_RANGE), strict=True)
        ]
        return search(
            session, start, bounds=bounds, throw=False, progress=self.progress,
            optimizer=LBFGS(self.max_iter, tol=0.0, ftol=tol, log=True),
        )

    def _dual(self, session):
        """The coefficients (M,) of h = Σ_m dual_m k(c_m, ·)."""
        theta = np.asarray(session.solve().coefficients)[0, :, 0]
        root = np.asarray(feature_root(session.first))
        dual = scipy.linalg.solve_triangular(root, theta, lower=True, trans="T")
        return dual[: len(self.centers)]


def _distance(left, right):
    """The largest absolute difference between two trees of log parameters."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)
