"""A problem prepared to be evaluated: its arguments in canonical form, its choices made, once."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import arithmetic, arrays, as_jax
from ..hypergradients import as_method
from ..instance import Instance
from ..linalg import SingularSystem, blas_threads
from ..problem import BilevelProblem
from ..programs import digest_of, identified, plain, traced_once
from ..result import BilevelError, Hypergradient, InvalidPoint, Residuals, Status
from ..solvers import Solver, default_solver
from .contract import check, sample_at
from .diagnosis import STRAIGHT, is_straight, not_differentiable


@dataclasses.dataclass(frozen=True)
class Session:
    """A problem with the solver and the method that evaluate it; ``prepare`` makes one.

    Attributes
    ----------
    first : Instance
        The problem at the first ω, both in canonical form, over the span of the solver's centres
        if it has any.
    solver : Solver
        With every choice made that is to hold for all ω.
    method : Method or None
    """

    first: Instance
    solver: Solver
    method: Any = None

    def __post_init__(self):
        self.solver.needs.expect(f"solver={self.solver}", self.first)
        if self.method is not None:
            self.method.needs.expect(f"method={self.method}", self.first, self.solver)

    @property
    def problem(self) -> BilevelProblem:
        """In canonical form."""
        return self.first.problem

    @property
    def omega(self):
        """The first ω, in canonical form."""
        return self.first.omega

    def at(self, omega=None) -> Instance:
        """The problem at an ω of any numbers, by default the first one."""
        first = self.first
        if omega is None or omega is first.omega:
            return first
        like = lambda leaf, number: as_jax(number, leaf.dtype)  # noqa: E731
        return first.at(jax.tree.map(like, first.omega, omega))

    def starting_at(self, omega) -> Session:
        """The same with another first ω."""
        return dataclasses.replace(self, first=self.at(omega))

    def of(self, problem, method=None, solver=None) -> Session:
        """The session of another problem with the same functions and the same structure of ω.

        Samples and numbers may differ. It is evaluated by the same method and solver unless others
        are given, the solver with its choices made (``Solver.fixed``).
        """
        solver = solver or self.solver
        problem = arrays(identified(problem, self.problem), self.first.dtype)
        problem = problem.replace(code=self.problem.code)
        first = solver.restrict(problem).at(self.omega)
        return Session(first, solver, method or self.method)

    def on_part(self, problem) -> Session:
        """The session of this problem with other samples or weights."""
        return dataclasses.replace(self, first=problem.at(self.omega))

    def solve(self, omega=None):
        """The inner solution at ω."""
        return self.solver.solve(self.at(omega))

    def evaluate(self, omega=None, state=None) -> Hypergradient:
        """L and ∇L at ω, from a warm start ``state``; an unsolvable system is a status."""
        instance = self.at(omega)
        try:
            found = self.method.evaluate(instance, self.solver, state)
        except SingularSystem:
            found = nothing(instance.omega, Status.SINGULAR)
        except BilevelError as error:
            found = nothing(instance.omega, error.status)
        return dataclasses.replace(found, hint=self.hint(found.status))

    def value(self, omega=None) -> float:
        """L(ω) alone; infinite where it cannot be computed."""
        try:
            return self.method.value(self.at(omega), self.solver)
        except (SingularSystem, BilevelError, InvalidPoint):
            return np.inf

    def loosened(self, ratio) -> Session:
        """What suffices in a search whose gradient is still ``ratio`` times the first one."""
        solver = self.solver.loosened(ratio)
        return self if solver is self.solver else dataclasses.replace(self, solver=solver)

    def within(self, tol) -> Session:
        """Inner problem and adjoint solved to the tolerance ``tol``, where they have one."""
        solver, method = self.solver.within(tol), self.method.within(tol)
        return dataclasses.replace(self, solver=solver, method=method)

    def hint(self, status) -> str:
        """What to do about a status, by the names of this solver's and this method's arguments."""
        if status is Status.INNER_NOT_CONVERGED:
            return self.solver.remedy
        if status in (Status.ADJOINT_NOT_CONVERGED, Status.TRUNCATED, Status.DIVERGED):
            return self.method.remedy or self.solver.remedy
        return ""

    def explained(self, result, omega=None) -> Hypergradient:
        """A failed result at ω, with the function to blame: a slope of NaN, or a loss of kinks."""
        if result.status is Status.INNER_NOT_CONVERGED and is_straight(self.at(omega), result):
            return dataclasses.replace(result, hint=STRAIGHT)
        if result.status not in (Status.NON_FINITE, Status.SINGULAR):
            return result
        blamed = not_differentiable(self.at(omega))
        if not blamed:
            return result
        return dataclasses.replace(result, status=Status.NOT_DIFFERENTIABLE, hint=blamed)


def nothing(omega, status, hint="") -> Hypergradient:
    """What is returned where nothing could be computed."""
    return Hypergradient(
        value=np.inf, grad=jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), omega),
        inner=no_function, adjoint=None, residuals=Residuals(np.inf, np.inf), jitter=np.inf,
        status=status, state=None, hint=hint,
    )


def no_function(x):
    """What stands for h where there is none."""
    raise BilevelError(Status.SINGULAR)


@contextlib.contextmanager
def prepare(problem, omega, solver=None, method=None, key=None):
    """A Session, as a context inside which JAX computes in float64 if the solver does.

    Parameters
    ----------
    problem, omega : BilevelProblem, pytree
    solver, method : Solver, Method or None
        Without a solver, the default one; without a method there is no gradient.
    key : PRNG key, optional
        What the solver draws from.

    Raises
    ------
    ValueError
        For an ω whose numbers are not floating and finite, or a problem that does not keep what
        its fields promise.
    TypeError
        If ω is being traced, or an argument is of another kind.
    """
    expect_instance("solver", solver, Solver, "kbo.solvers.Exact()")
    method = as_method(method)
    with contextlib.ExitStack() as stack:
        stack.enter_context(arithmetic(solver is not None and solver.double))
        try:
            instance, solver = _prepared(stack, problem, omega, solver, key)
        except _InDouble as default:
            stack.enter_context(arithmetic(True))
            instance, solver = _prepared(stack, problem, omega, default.solver, key)
        stack.enter_context(blas_threads.sized(instance.inner.size))
        if method is not None:
            others = lambda other: _prepared(stack, other, omega, solver)[0].problem  # noqa: E731
            method = identified(method).fixed(others)
        yield Session(instance, solver, method)


class _InDouble(Exception):
    """The default solver of a problem computes in float64: it is to be prepared anew in that."""

    def __init__(self, solver):
        self.solver = solver


def _prepared(stack, problem, omega, solver, key=None):
    """The instance and the solver in canonical form, over the span of the solver's centres."""
    if not isinstance(problem, BilevelProblem):
        raise TypeError(f"problem={problem!r} must be a kbo.BilevelProblem")
    if solver is not None and solver.double:
        problem = _doubled(problem)
    problem, omega = canonical(problem, omega)
    written = plain(problem)
    digest = digest_of(written)
    known = identified(written)
    stack.enter_context(traced_once(known, digest))
    problem = known.replace(code=digest)
    check(problem, omega)
    instance = problem.at(omega)
    if solver is None:
        solver = default_solver(instance)
        if solver.double:
            raise _InDouble(solver)
    solver = solver if key is None else solver.keyed(key)
    solver.needs.expect(f"solver={type(solver).__name__}", instance)
    solver = identified(solver).fixed(instance)
    restricted = solver.restrict(problem)
    return instance if restricted is problem else restricted.at(omega), solver


def expect_instance(name, value, kind, example):
    """Refuse what is no instance of ``kind``, nor None: a class or a text, say."""
    if not (value is None or isinstance(value, kind)):
        of_optax = hasattr(value, "init") and hasattr(value, "update")
        more = ", or this transformation in kbo.optimizers.Optax(…)" if of_optax else ""
        raise TypeError(f"{name}={value!r} must be an instance such as {example}{more}")


def _doubled(problem):
    single = lambda leaf: isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32  # noqa: E731
    return jax.tree.map(lambda v: v.astype(jnp.float64) if single(v) else v, problem)


def canonical(problem: BilevelProblem, omega, traced=False):
    """Numbers become arrays of the data's dtype, so that new values never mean new compilations.

    Raises
    ------
    ValueError
        If a number in ω is not floating, real and finite.
    TypeError
        If ω is being traced, and may not be.
    """
    floating, constants = split_leaves(omega, traced)
    if jax.tree.leaves(constants):
        problem = problem.with_constants(identified(constants))
    dtype = sample_at(problem, floating, "inner_data").x.dtype
    return arrays(problem, dtype), arrays(floating, dtype)


def split_leaves(omega, traced=False):
    """ω's floating leaves as arrays, and its functions, such as a network's activation.

    Each has None in the place of the other's leaves. ``traced`` allows leaves that JAX is tracing.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(omega)
    kinds = [
        _outer_leaf(f"omega{jax.tree_util.keystr(path)}", leaf, traced) for path, leaf in paths
    ]
    floating, constants = ([kind[side] for kind in kinds] for side in (0, 1))
    return jax.tree.unflatten(structure, floating), jax.tree.unflatten(structure, constants)


def _outer_leaf(name, leaf, traced):
    """(array, None), or (None, leaf) where it is a function."""
    if isinstance(leaf, jax.core.Tracer) and not traced:
        raise TypeError(
            f"{name} is being traced by jax.jit, grad, vmap or scan, and this function runs LAPACK "
            "between its compiled parts: inside a JAX program use kbo.solve or "
            "kbo.outer_objective, which JAX can trace"
        )
    if callable(leaf):
        return None, leaf
    if not _is_floating(leaf):
        raise ValueError(
            f"{name}={leaf!r} is not a real floating-point number, and has no derivative: write "
            "1.0 instead of 1; put an index, a key or a flag into the problem, not into omega"
        )
    if isinstance(leaf, jax.core.Tracer):
        return leaf, None
    if not np.isfinite(np.asarray(leaf, float)).all():
        raise ValueError(f"{name}={leaf!r} must be finite")
    if isinstance(leaf, jax.Array) and leaf.dtype == jnp.result_type(float) and not leaf.committed:
        return leaf, None
    return as_jax(np.asarray(leaf), float), None  # on no device in particular


def _is_floating(leaf) -> bool:
    try:
        return eqx.is_array_like(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    except TypeError:  # an array of texts or objects
        return False
