"""The inner solution as a differentiable value inside JAX programs: solve and outer_objective."""

from __future__ import annotations

import equinox as eqx
import jax

from ..arithmetic import arithmetic, is_traced
from ..function import Function
from ..module import Module
from ..problem import BilevelProblem
from ..programs import HoldsTracer, identified, program
from ..result import BilevelError, Status
from ..solvers import Solver, default_solver
from ..solvers._traced import ENDINGS, Report, stationary
from .contract import check
from .session import canonical, expect_instance


class Solution(Module):
    """h_ω, a function of points and a differentiable value.

    Attributes
    ----------
    function : Function
        h; calling the solution calls it.
    report : Report
        How the solve ended: arrays, since JAX may be tracing them.
    """

    function: Function
    report: Report

    def __call__(self, x) -> jax.Array:
        """h at points ``x`` (k, d): (k,), or (k, p) for p outputs, with replicates (F, …)."""
        return self.function(x)

    @property
    def converged(self) -> jax.Array:
        """Whether the inner problem was solved to its tolerance, a boolean."""
        return self.report.ending == 0

    @property
    def status(self) -> Status:
        """How the solve ended; outside JAX programs only, where numbers are known."""
        return ENDINGS[int(self.report.ending)]


def solve(problem, omega, *, solver=None, throw=True) -> Solution:
    """h_ω = argmin_h (1/Σw) Σ_i w_i ℓ_in(ω, h(x_i), t_i) + (ridge/2)‖h‖²_H as a value of JAX.

    For any function S of ω and of h at any points, with g_j = ∂S/∂h(x'_j), its derivative is::

        dS/dω = ∂_ωS + ∂_ω [(1/Σw) Σ_i w_i a(x_i)·∂_vℓ_in(ω, h(x_i), t_i) + ridge ⟨h, a⟩_H],

    h and a held fixed, where a is the adjoint for the slopes g: one linear system and one reverse
    pass, whatever the number of Newton steps. It composes with jax.grad, jvp, jit, vmap, scan,
    checkpoint and shard_map (with check_vma=False), in derivatives of any order. It differentiates
    in ω, in the points where h is evaluated, and in every array that the problem holds or that its
    functions close over. Several solutions may meet in one loss, and one problem's data may come
    from another's solution.

    It computes in the dtype of the data. A system whose α = ridge·Σw is below the rounding errors
    of its matrix gets a jitter (``.report.jitter``). Outputs that the inner loss couples (softmax)
    make one system, of at most 6,000 unknowns.

    Parameters
    ----------
    problem : BilevelProblem
        Its outer loss and data are not used here, except by ``outer_objective``.
    omega : pytree of floats or arrays
    solver : kbo.solvers.Exact or Nystrom, default Exact()
        Nystrom with an array of centres, or with none for a kbo.Subspace.
    throw : bool
        Whether a solve that fails raises while the program runs. Otherwise see ``.converged``. The
        system of the adjoint is solved with the last factor and one refinement, which no status
        reports: where ridges are near rounding, compare with ``value_and_hypergradient``.

    Returns
    -------
    Solution
        A function of points. ``equinox.filter_jit`` can return it from a compiled function, while
        jax.jit returns arrays alone, such as its values.

    Raises
    ------
    ValueError
        For a problem that does not keep what its fields promise, or a solver that cannot run inside
        a JAX program.
    BilevelError
        With ``throw=True``: the inner problem was not solved. Where JAX is tracing it is a
        RuntimeError from the running program, with the same message.

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Theorem 2.3; Blondel et al.
    (2022), Efficient and Modular Implicit Differentiation, eq. (7).

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
    >>> h = kbo.solve(problem, jnp.array(-5.0))
    >>> print(h(jnp.array([[1.5]])).round(3))
    [0.977]
    """
    with arithmetic(False):
        problem, omega, run = _prepared(problem, omega, solver)
        known = run == _programs.get and not is_traced((problem, omega))
        coefficients, report = run(_solved)(problem, omega, solver, throw and not known)
        if throw and known and report.ending > 0:
            raise BilevelError(ENDINGS[int(report.ending)])
        problem = problem if solver is None else solver.restrict(problem)
        return Solution(Function(problem.at(omega), coefficients), report)


def outer_objective(problem, *, solver=None, throw=True):
    """The function ω ↦ L(ω) = (1/Σv) Σ_j v_j ℓ_out(ω, h_ω(x'_j), y_j) + penalty(ω).

    It is differentiable and composes with JAX's transformations as ``solve`` does.

    Parameters
    ----------
    problem, solver, throw
        As in ``solve``.

    Returns
    -------
    callable
        From ω to a scalar array.

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
    >>> print(jax.grad(kbo.outer_objective(problem))(jnp.array(-5.0)).round(5))
    0.00059
    """

    def objective(omega):
        with arithmetic(False):
            canonical_problem, omega, run = _prepared(problem, omega, solver)
            return run(_outer_value)(canonical_problem, omega, solver, throw)

    return objective


def _prepared(problem, omega, solver):
    """The problem and ω in canonical form, and what makes the functions below ready to call.

    That compiles them, but for a problem of which a function is of a trace alone.
    """
    if not isinstance(problem, BilevelProblem):
        raise TypeError(f"problem={problem!r} must be a kbo.BilevelProblem")
    expect_instance("solver", solver, Solver, "kbo.solvers.Exact()")
    problem, omega = canonical(problem, omega, traced=True)
    try:
        problem, run = identified(problem), _programs.get
    except HoldsTracer:
        run = lambda function: function  # noqa: E731
    check(problem, omega)
    return problem, omega, run


def _solved(problem, omega, solver, throw):
    """The coefficients of h, and the report."""
    _, theta, report = _solved_instance(problem, omega, solver, throw)
    return theta, report


def _solved_instance(problem, omega, solver, throw):
    """The instance that the solver solves, the coefficients and the report."""
    instance = problem.at(omega)
    solver = solver or default_solver(instance)
    if not solver.traceable:
        raise ValueError(
            f"solver=kbo.solvers.{type(solver).__name__}(…) cannot run inside a JAX program, "
            "where kbo.solve runs: use kbo.solvers.Exact(), or Nystrom(centers) with an array "
            "of centres, which know kbo.RKHS and kbo.FeatureSpace; or "
            "kbo.value_and_hypergradient outside of one"
        )
    solver.needs.expect(f"solver={solver}", instance)
    try:
        solver = solver.fixed(instance)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise ValueError(
            f"solver=kbo.solvers.{type(solver).__name__}(…) chooses by numbers, which a JAX "
            "program does not know: give kbo.solvers.Exact(), or Nystrom(centers) with an array of "
            "centres"
        ) from error
    instance = solver.restrict(problem).at(omega)
    theta, report = stationary(solver.equations(instance), solver.max_newton, solver.tol)
    if throw:
        texts = [f"{status.name}: {status}" for status in ENDINGS]
        theta = eqx.branched_error_if(theta, report.ending > 0, report.ending, texts)
    return instance, theta, report


def _outer_value(problem, omega, solver, throw):
    instance, theta, _ = _solved_instance(problem, omega, solver, throw)
    values = instance.space.evaluate(instance.inner.x, instance.outer.x, theta)
    return instance.outer_value(values) + instance.penalty_value()


_programs = {function: program(function, nested=True) for function in (_solved, _outer_value)}
