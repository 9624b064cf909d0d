"""The public verbs: value_and_hypergradient, minimize, check_hypergradient."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .checkpoint import EvaluationLog
from .function import Function
from .hypergradients import Implicit
from .hypergradients.base import canonical, data_dtype
from .linalg import SingularSystem
from .optimizers import LBFGS, projected_gradient
from .result import BilevelError, BilevelResult, Hypergradient, Residuals, Status, StepRecord
from .solvers import Exact

ILL_CONDITIONED = 1e4  # 1/ridge beyond which float32 costs the hypergradient its digits


def value_and_hypergradient(
    problem, omega, *, solver=None, method=None, state=None, throw=True
) -> Hypergradient:
    """L(ω) and ∇L(ω) = ∂_ω Λ(ω; h_ω, a_ω).

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree of floats or arrays
    solver : kbo.solvers.Solver, default Exact()
    method : kbo.hypergradients.Method, default Implicit()
    state : object, optional
        ``.state`` of an earlier result for the same problem: memory and a warm start. It changes
        the cost, never the answer; it is used up (do not pass one state to two threads).
    throw : bool
        Whether an unusable or unconverged result raises; otherwise see ``.status``.

    Returns
    -------
    Hypergradient

    Raises
    ------
    BilevelError
        With ``throw=True``, where ``.status`` is not CONVERGED.
    ValueError
        For an ω that is not made of finite real numbers, or a ridge that is not positive.
    """
    problem, omega = canonical(problem, omega)
    _warn_if_single_precision(problem, omega)
    result = _evaluate(problem, omega, solver or Exact(), method or Implicit(), state)
    if throw and not result.status.ok:
        raise BilevelError(result.status, result)
    return result


def _evaluate(problem, omega, solver, method, state) -> Hypergradient:
    try:
        return method.evaluate(problem, omega, solver, state)
    except SingularSystem:
        nothing = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), omega)
        return Hypergradient(
            value=np.inf, grad=nothing, inner=_no_function, adjoint=None,
            residuals=Residuals(np.inf, np.inf), jitter=np.inf, status=Status.SINGULAR, state=None,
        )


def _no_function(x):
    raise BilevelError(Status.SINGULAR)


def _warn_if_single_precision(problem, omega):
    if data_dtype(problem, omega) == jnp.float64:
        return
    ridge = problem.ridge(omega) if callable(problem.ridge) else problem.ridge
    if 1.0 / float(jnp.min(ridge)) > ILL_CONDITIONED:
        warnings.warn(
            "float32 data with a ridge below 1e-4 lose digits: enable jax_enable_x64, or run "
            "inside `with jax.enable_x64(True):`",
            stacklevel=3,
        )


class _Stop(Exception):
    """Raised through an optimiser when the callback asks to stop."""


class _Run:
    """Evaluations behind an optimiser: log, history, best iterate, warm start, progress."""

    def __init__(self, problem, omega, solver, method, lower, upper, log, callback, progress):
        self.problem, self.solver, self.method = problem, solver, method
        self.flat, self.unravel = ravel_pytree(omega)
        self.lower, self.upper = lower, upper
        self.log, self.callback, self.progress = log, callback, progress
        self.history: list[StepRecord] = []
        self.evaluations = 0
        self.state = None
        self.best = None
        self.failure = None
        self.earlier = log.row(len(log) - 1)[5] if len(log) else 0.0
        self.started = time.perf_counter()
        self._recent = {}

    def seconds(self):
        return self.earlier + time.perf_counter() - self.started

    def evaluate(self, point):
        """L and ∇L at a flat point; +inf (and the reason kept) where they cannot be had."""
        if self.evaluations < len(self.log):
            logged = self.log.row(self.evaluations)
            _, value, grad, residuals, name, seconds = logged
            if not np.array_equal(logged[0], point):
                raise ValueError("the checkpoint does not follow from this start: delete it")
            value, residuals, status = float(value), Residuals(*residuals), Status[str(name)]
            self.state = self.log.warm_start
        else:
            result = _evaluate(
                self.problem, self.unravel(jnp.asarray(point, self.flat.dtype)), self.solver,
                self.method, self.state,
            )
            self.state = result.state if result.status.usable else self.state
            grad = np.asarray(ravel_pytree(result.grad)[0], float)
            value, residuals, status = result.value, result.residuals, result.status
            seconds = self.seconds()
            self.log.append(
                point, value, grad, (residuals.inner, residuals.adjoint), status.name, seconds,
                self.solver.warm_start(self.state),
            )
        self.evaluations += 1
        if not status.usable:
            self.failure = status
            return np.inf, np.zeros_like(grad)
        if not status.ok:
            self.failure = status
        self._recent[point.tobytes()] = (value, grad, residuals, seconds)
        first = not self.history
        if self.best is None or value < self.best[1]:
            self.best = (np.array(point), value, grad)
        if first:
            self.report(point)
        return value, grad

    def report(self, point):
        """Record an accepted iterate; let the callback see it."""
        value, grad, residuals, seconds = self._recent[point.tobytes()]
        self._recent = {point.tobytes(): self._recent[point.tobytes()]}
        norm = np.linalg.norm(projected_gradient(point, grad, self.lower, self.upper))
        record = StepRecord(
            step=len(self.history), omega=self.as_tree(point), value=value,
            grad_norm=float(norm), residuals=residuals, seconds=float(seconds),
            evaluations=self.evaluations,
        )
        self.history.append(record)
        if self.progress is not None:
            self.progress.set_postfix(value=f"{value:.6g}", grad=f"{norm:.1e}")
            self.progress.update()
        if self.callback is not None and self.callback(record):
            raise _Stop

    def as_tree(self, point):
        return jax.tree.map(np.array, self.unravel(jnp.asarray(point, self.flat.dtype)))


def minimize(
    problem, omega0, *, optimizer=None, solver=None, method=None, bounds=None,
    callback: Callable | None = None, progress=False, checkpoint=None, throw=True,
) -> BilevelResult:
    """argmin_ω L(ω), by gradient; the lowest finite iterate is returned.

    Parameters
    ----------
    problem : BilevelProblem
    omega0 : pytree of floats or arrays
    optimizer : kbo.optimizers.Optimizer, default LBFGS()
    solver, method
        As in value_and_hypergradient. Each inner problem starts from the last one's solution.
    bounds : pair (lower, upper) of pytrees like ω, or of numbers, optional
    callback : callable, optional
        Called with the StepRecord of the start and of every accepted step; a true result stops.
    progress : bool
        Show a tqdm bar of the accepted steps.
    checkpoint : path, optional
        File to which every evaluation is written, atomically. Called again with the same
        arguments after a kill, the run continues and ends at exactly the same iterate.
    throw : bool
        Whether to raise where the run ended unusable (no finite start, or a first inner problem
        without a solution). Missing the tolerance never raises: see ``.status``.

    Returns
    -------
    BilevelResult

    Raises
    ------
    BilevelError
        With ``throw=True``, where the start has no finite value and gradient.
    ValueError
        For bounds that cross or exclude the start, or a checkpoint of another run.
    """
    problem, omega0 = canonical(problem, omega0)
    _warn_if_single_precision(problem, omega0)
    solver, method = solver or Exact(), method or Implicit()
    optimizer = optimizer or LBFGS()
    start = np.asarray(ravel_pytree(omega0)[0], float)
    lower, upper = _flat_bounds(bounds, omega0)
    if not ((lower <= start) & (start <= upper)).all():
        raise ValueError("omega0 lies outside bounds (or the bounds cross): move one or the other")
    log = EvaluationLog(checkpoint, _fingerprint(problem, start, lower, upper, optimizer, solver))
    bar = _progress_bar(optimizer) if progress else None
    run = _Run(problem, omega0, solver, method, lower, upper, log, callback, bar)
    try:
        status = optimizer.run(run.evaluate, run.report, start, lower, upper)
    except _Stop:
        status = Status.STOPPED
    finally:
        if bar is not None:
            bar.close()
    return _conclude(run, status, omega0, throw)


def _conclude(run, status, omega0, throw):
    if run.best is None:
        status = run.failure
        if throw:
            raise BilevelError(status)
        return BilevelResult(
            jax.tree.map(np.array, omega0), np.inf, np.inf, _no_function, status, 0,
            run.evaluations, [],
        )
    point, value, grad = run.best
    omega = run.unravel(jnp.asarray(point, run.flat.dtype))
    solution = run.solver.solve(run.problem, omega, run.state)
    if status is Status.CONVERGED and not solution.status.ok:
        status = solution.status
    dtype = data_dtype(run.problem, omega)
    return BilevelResult(
        omega=run.as_tree(point),
        value=value,
        grad_norm=float(np.linalg.norm(projected_gradient(point, grad, run.lower, run.upper))),
        function=Function(run.problem, omega, jnp.asarray(solution.coefficients, dtype)),
        status=status,
        n_steps=len(run.history) - 1,
        n_evaluations=run.evaluations,
        history=run.history,
    )


def _flat_bounds(bounds, omega0):
    size = ravel_pytree(omega0)[0].size
    if bounds is None:
        return np.full(size, -np.inf), np.full(size, np.inf)
    try:
        lower, upper = bounds
        return tuple(_like(side, omega0) for side in (lower, upper))
    except (TypeError, ValueError) as error:
        raise ValueError("bounds must be a pair (lower, upper) of numbers or of pytrees like "
                         f"omega0: {error}") from error


def _like(side, omega0):
    if np.ndim(side) == 0 and not isinstance(side, dict | list | tuple):
        side = jax.tree.map(lambda leaf: side, omega0)
    fill = lambda bound, leaf: np.broadcast_to(np.asarray(bound, float), leaf.shape)  # noqa: E731
    filled = jax.tree.map(fill, side, omega0)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(filled)])


def _fingerprint(problem, start, *settings) -> str:
    """A digest of everything the run depends on, functions by name and code."""
    digest = hashlib.sha256(start.tobytes())
    leaves, structure = jax.tree.flatten((problem, settings))
    for leaf in leaves:
        if callable(leaf):
            code = getattr(leaf, "__code__", None)
            digest.update(repr(getattr(leaf, "__qualname__", type(leaf))).encode())
            digest.update(code.co_code if code else b"")
        else:
            digest.update(np.asarray(leaf).tobytes())
    names = [type(part).__name__ for part in jax.tree.leaves(settings, is_leaf=lambda _: True)]
    digest.update(repr((structure.num_leaves, names)).encode())
    return digest.hexdigest()


def _progress_bar(optimizer):
    from tqdm.auto import tqdm

    return tqdm(total=optimizer.max_steps + 1, desc="kbo.minimize", unit="step")
