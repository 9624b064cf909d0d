"""The public verbs value_and_hypergradient and minimize."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import raveled
from ..fingerprint import read_structure
from ..hypergradients import Implicit, as_method
from ..optimizers import Optimizer, default_optimizer
from ..programs import identified
from ..result import BilevelError, BilevelResult, Hypergradient, Status
from ..spaces import NeuralSpace
from ..status import warn_explained
from .bounds import flat_bounds, names_of
from .checkpoint import EvaluationLog
from .run import Run, Stop
from .session import expect_instance, no_function, nothing, prepare

SMALL_RIDGE = 1e-4  # below it float32 costs the hypergradient its digits


def value_and_hypergradient(
    problem, omega, *, solver=None, method=None, state=None, throw=True, key=None
) -> Hypergradient:
    """L(ω) and ∇L(ω) = ∂_ω Λ(ω; h_ω, a_ω).

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree of floats or arrays
    solver : kbo.solvers.Solver, default Exact(), or Gradient() for spaces of networks
    method : Method or Stepper, default kbo.hypergradients.Implicit()
    state : object, optional
        ``.state`` of an earlier result for the same problem: memory and a warm start. It changes
        the cost, but not the answer, with two exceptions: networks and Unrolled go on training from
        it, and QuasiNewton's steps may then end before its tolerance is met, as the status says.
        A state can be used only once (do not pass one to two threads).
    throw : bool
        Whether a result that is unusable, or whose inner problem is not solved, raises, and one
        whose adjoint is not solved warns; otherwise see ``.status``.
    key : PRNG key, optional
        For solvers that draw (Gradient: first weights and batches); others need none.

    Returns
    -------
    Hypergradient

    Raises
    ------
    BilevelError
        With ``throw=True``, where ``.status`` is none of CONVERGED, TRUNCATED, HELD and
        ADJOINT_NOT_CONVERGED.
    ValueError
        For an ω whose numbers are not floating and finite, losses, spaces or targets that do not
        fit together, or a ridge that is not positive.
    TypeError
        If ω is being traced by a JAX transformation.

    Warns
    -----
    UserWarning
        With ``throw=True``, where ``.status`` is ADJOINT_NOT_CONVERGED.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> x = jnp.linspace(0.0, 6.0, 30)
    >>> data = [kbo.Sample(x[k::2], jnp.sin(x[k::2])) for k in (0, 1)]
    >>> problem = kbo.BilevelProblem(kbo.losses.Squared(), kbo.losses.Squared(), *data,
    ...     kbo.RKHS(kbo.kernels.Gaussian()), ridge=jnp.exp)
    >>> found = kbo.value_and_hypergradient(problem, jnp.array(-5.0))
    >>> print(f"{found.value:.4f} {found.grad:.4f} {found.status.name}")
    0.0006 0.0006 CONVERGED
    """
    method = as_method(method) or Implicit()
    _expect_numbers(omega)
    with prepare(problem, omega, solver, method, key) as session:
        _warn_if_single_precision(session.first)
        result = session.explained(session.evaluate(state=state))
    status = result.status
    if throw and status is Status.ADJOINT_NOT_CONVERGED:
        error = BilevelError(status, result, result.hint)
        warn_explained(f"{error} (residuals.adjoint is {result.residuals.adjoint:.1e})",
                      stacklevel=2)
    elif throw and not status.completed:
        raise BilevelError(status, result, result.hint)
    return result


def _expect_numbers(omega):
    """Refuse an ω in which there is nothing to tune."""
    if all(callable(leaf) for leaf in jax.tree.leaves(omega)):
        raise ValueError(f"omega={omega!r} holds no number to tune")



def _warn_if_single_precision(instance):
    if instance.dtype == jnp.float64:
        return
    if isinstance(instance.space, NeuralSpace):
        return  # there is no kernel matrix whose inverse could lose them
    if float(jnp.min(instance.ridge)) < SMALL_RIDGE:
        warn_explained(
            "float32 data with a ridge below 1e-4 lose digits: enable jax_enable_x64, or run "
            "inside `with jax.enable_x64(True):`",
            stacklevel=3,
        )


def minimize(
    problem, omega0, *, optimizer=None, solver=None, method=None, bounds=None,
    callback: Callable | None = None, max_time=None, progress=False, checkpoint=None, throw=True,
    key=None,
) -> BilevelResult:
    """argmin_ω L(ω), by gradient: the last iterate if the search converged, else the lowest.

    If values of L cannot be compared (networks in training, stochastic methods), the last iterate
    is returned in any case.

    Parameters
    ----------
    problem : BilevelProblem
    omega0 : pytree of floats or arrays
    optimizer : kbo.optimizers.Optimizer, default LBFGS()
        Or ProximalGradient() where the penalty is one of kbo.regularizers.
        Where values do not compare, the default is Optax(optax.adam(1e-2)). With a stochastic
        method the optimizer makes all its steps, because a small direction may be due to chance.
    solver, method
        As in value_and_hypergradient. Each inner problem starts from the last one's solution.
    bounds : pair (lower, upper), optional
        Numbers, pytrees like ω (or like its upper part), or flat arrays in the order of its
        leaves. Keys that a dictionary does not name are not bounded.
    callback : callable, optional
        Called with the StepRecord of the start and of every accepted step, ``.function`` of which
        is h there (None for steps that are read from a checkpoint); a true result stops.
    max_time : float, optional
        Seconds after which no evaluation is begun (except the first of the whole problem, which is
        always made); the best iterate is then returned, with the status STOPPED.
    progress : bool
        Show a tqdm bar of the accepted steps.
    checkpoint : path, optional
        File to which every evaluation is appended; the last warm start is in another,
        ``checkpoint``.state. Called again with the same arguments after a kill, the run continues
        and ends at exactly the same iterate. With a larger ``max_steps`` it goes on where a run
        that used up its own had ended.
    throw : bool
        Whether to raise where the run ended unusable (no finite start, or a first inner problem
        without a solution). Missing the tolerance never raises: see ``.status``.
    key : PRNG key, optional
        As in value_and_hypergradient.

    Returns
    -------
    BilevelResult

    Raises
    ------
    BilevelError
        With ``throw=True``, where the start has no finite value and gradient.
    ValueError
        For bounds that cross or exclude the start, or a checkpoint of another run.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> x = jnp.linspace(0.0, 6.0, 30)
    >>> data = [kbo.Sample(x[k::2], jnp.sin(x[k::2])) for k in (0, 1)]
    >>> problem = kbo.BilevelProblem(kbo.losses.Squared(), kbo.losses.Squared(), *data,
    ...     kbo.RKHS(kbo.kernels.Gaussian()), ridge=jnp.exp)
    >>> result = kbo.minimize(problem, jnp.array(-3.0), bounds=(-5.0, 0.0))
    >>> print(f"{result.omega:.2f} {result.function(jnp.array([[1.5]]))[0]:.2f}")
    -5.00 0.98
    """
    method = as_method(method) or Implicit()
    _expect_numbers(omega0)
    expect_instance("optimizer", optimizer, Optimizer, "kbo.optimizers.LBFGS()")
    with prepare(problem, omega0, solver, method, key) as session:
        return search(
            session, session.omega, optimizer=optimizer, bounds=bounds, callback=callback,
            max_time=max_time, progress=progress, checkpoint=checkpoint, throw=throw,
        )


def search(
    session, omega0, *, optimizer=None, bounds=None, callback=None, max_time=None, progress=False,
    checkpoint=None, throw=True,
) -> BilevelResult:
    """As ``minimize``, of a problem that is prepared already."""
    session = session.starting_at(omega0)
    method, solver = session.method, session.solver
    _warn_if_single_precision(session.first)
    start = np.asarray(raveled(session.omega)[0], float)
    lower, upper = flat_bounds(bounds, session.omega)
    outside = np.flatnonzero(~((lower <= start) & (start <= upper)))
    if len(outside):
        place = outside[0]
        name = names_of(session.omega)[place]
        raise ValueError(
            f"omega0 lies outside bounds (or the bounds cross) in {name}: "
            f"{start[place]:g} is not between {lower[place]:g} and {upper[place]:g}"
        )
    penalty = session.problem.penalty
    optimizer = optimizer or default_optimizer(method.comparable(solver), penalty)
    optimizer = identified(optimizer).of(penalty)
    if method.stochastic:
        optimizer = optimizer.endless()
    log = EvaluationLog(checkpoint, _digest(
        checkpoint, problem=session.problem, start=start, lower=lower, upper=upper,
        optimizer=optimizer.unlimited(), solver=solver, method=method,
    ))
    bar = _progress_bar(optimizer) if progress else None
    comparable = method.comparable(solver) and optimizer.comparable and not solver.loose
    run = Run(session, lower, upper, log, callback, max_time, bar, comparable, optimizer.rest)
    try:
        status = optimizer.run(run.evaluate, run.report, start, lower, upper, run.tree)
        if run.accepted is not None:  # wherever it ended, the value is one to the solver's own tol
            run.evaluate(run.accepted.point, tighten=0.0)
    except Stop:
        status = Status.STOPPED
    finally:
        if bar is not None:
            bar.close()
    return _conclude(run, status, throw)


def _digest(checkpoint, **parts) -> str:
    """What identifies a run; only a checkpoint asks for it."""
    if checkpoint is None:
        return ""
    reading = read_structure(parts)
    if reading.unseen:
        raise ValueError(
            "checkpoint cannot tell whether a later run is the same as this one, which depends on "
            f"{'; '.join(reading.unseen)}, the state of which cannot be read: use arrays, numbers "
            "or functions instead, or run without checkpoint"
        )
    return reading.digest


def _conclude(run, status, throw):
    session = run.session
    if run.best is None:
        failed = session.explained(run.last or nothing(session.omega, run.failure))
        if throw:
            raise BilevelError(failed.status, None, failed.hint)
        return BilevelResult(
            run.as_tree(run.flat), np.inf, np.inf, no_function, failed.status, 0,
            run.evaluations, [], failure=failed.status, hint=failed.hint,
        )
    best = run.accepted if status.ok else run.best  # the tolerance is met where the search ended
    omega = run.unravel(best.point)
    function, solved = session.method.function(session.at(omega), session.solver, run.state)
    solved = best.status if solved is Status.HELD else solved  # L may move with its constraints
    # A search has converged only where what it saw last, and the solution returned, have.
    status = next((own for own in (status, solved, best.status) if not own.ok), status)
    return BilevelResult(
        omega=run.as_tree(best.point),
        value=best.value,
        grad_norm=run.grad_norm(best),
        function=function,
        status=status,
        n_steps=len(run.history) - 1,
        n_evaluations=run.evaluations,
        history=run.history,
        solver=session.solver,
        n_rejected=run.rejected,
        failure=run.failure,
        hint=run.hint(status),
    )


def _progress_bar(optimizer):
    from tqdm.auto import tqdm

    return tqdm(total=getattr(optimizer, "max_steps", None), desc="kbo.minimize", unit="step")
