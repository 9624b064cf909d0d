"""What a hypergradient method is, and the canonical form of its arguments."""

from __future__ import annotations

import abc
import contextlib
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import arithmetic
from ..contract import check, sample_at
from ..function import Function
from ..problem import BilevelProblem, Sample
from ..programs import digest_of, identified, plain, traced_once
from ..result import Hypergradient, Status
from ..solvers import Solver, default_solver
from ..spaces import NeuralFeatures
from ..stream import Stream


def data_dtype(problem, omega):
    """The floating dtype of the inner points: the dtype of the whole computation."""
    data = problem.inner_data
    return (data(omega) if callable(data) else data).x.dtype


@contextlib.contextmanager
def settled(problem, omega, solver=None, key=None):
    """The problem, ω and solver as every evaluation will see them.

    That is in canonical form, with the solver's choices made (None is the default one, ``key``
    what it draws from) and the problem restricted to its subspace. Inside the context JAX
    computes in float64 if the solver does.
    """
    if not isinstance(problem, BilevelProblem):
        raise TypeError(f"problem={problem!r} must be a kbo.BilevelProblem")
    expect_instance("solver", solver, Solver, "kbo.solvers.Exact()")
    double = solver is not None and solver.double
    with arithmetic(double):
        if double:
            problem = _doubled(problem)
        problem, omega = canonical(problem, omega)
        written = plain(problem)
        digest = digest_of(written)
        known = identified(written)
        with traced_once(known, digest):
            problem = known.replace(code=digest)
            check(problem, omega)
            solver = solver or default_solver(problem, omega)
            solver = solver if key is None else solver.keyed(key)
            solver = identified(solver).fixed(problem, omega)
            _check_streams(problem, solver)
            yield solver.restrict(problem), omega, solver


def _check_streams(problem, solver):
    if is_streamed(problem) and not (solver.streams and getattr(solver, "mesh", None) is None):
        raise ValueError(
            f"x is a kbo.Stream, which solver={solver} cannot read: use Nystrom or Falkon, "
            "without a mesh"
        )


def expect_instance(name, value, kind, example):
    """Refuse what is no instance of ``kind``, nor None: a class or a text, say."""
    if not (value is None or isinstance(value, kind)):
        raise TypeError(f"{name}={value!r} must be an instance such as {example}")


def is_streamed(problem) -> bool:
    """Whether some points stay on disk."""
    data = (problem.inner_data, problem.outer_data)
    return any(isinstance(sample, Sample) and isinstance(sample.x, Stream) for sample in data)


def check_parametric(problem, omega, method):
    """Refuse problems whose h has no coefficients to differentiate in.

    Raises
    ------
    ValueError
        If points stay on disk, or the space is NeuralFeatures.
    """
    name = type(method).__name__
    if is_streamed(problem):
        raise ValueError(
            f"method={name} differentiates whole samples in memory, and x is a kbo.Stream: use "
            "method=kbo.hypergradients.Implicit()"
        )
    space = problem.space(omega) if callable(problem.space) else problem.space
    if isinstance(space, NeuralFeatures):
        raise ValueError(
            f"method={name} needs one J(ω, θ), but NeuralFeatures trains φ and solves for the "
            "last layer: use method=kbo.hypergradients.Implicit(), or space=NeuralSpace"
        )


def _doubled(problem):
    single = lambda leaf: isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32  # noqa: E731
    return jax.tree.map(lambda v: v.astype(jnp.float64) if single(v) else v, problem)


def canonical(problem: BilevelProblem, omega):
    """Numbers become arrays of the data's dtype, so that new values never mean new compilations.

    Raises
    ------
    ValueError
        If a number in ω is not floating, real and finite.
    TypeError
        If ω is being traced.
    """
    floating, constants = split(omega)
    if jax.tree.leaves(constants):
        problem = problem.with_constants(identified(constants))
    dtype = sample_at(problem, floating, "inner_data").x.dtype
    return arrays(problem, dtype), jax.tree.map(lambda v: v.astype(dtype), floating)


def split(omega):
    """ω's floating leaves as arrays, and its functions, such as a network's activation.

    Each has None in the place of the other's leaves.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(omega)
    kinds = [_outer_leaf(f"omega{jax.tree_util.keystr(path)}", leaf) for path, leaf in paths]
    floating, constants = ([kind[side] for kind in kinds] for side in (0, 1))
    return jax.tree.unflatten(structure, floating), jax.tree.unflatten(structure, constants)


def _outer_leaf(name, leaf):
    """(array, None), or (None, leaf) where it is a function."""
    if isinstance(leaf, jax.core.Tracer):
        raise TypeError(
            f"{name} is being traced by jax.jit, grad, vmap or scan; kbo runs LAPACK between its "
            "compiled parts, so that it cannot be traced: call it outside, and use its .grad"
        )
    if callable(leaf):
        return None, leaf
    if not _is_floating(leaf):
        raise ValueError(
            f"{name}={leaf!r} is no real floating number, and has no derivative: write 1.0 for 1; "
            "an index, a key or a flag belongs into the problem, not into omega"
        )
    if not np.isfinite(np.asarray(leaf, float)).all():
        raise ValueError(f"{name}={leaf!r} must be finite")
    return jnp.asarray(np.asarray(leaf), float), None  # on no device in particular


def _is_floating(leaf) -> bool:
    try:
        return eqx.is_array_like(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    except TypeError:  # an array of texts or objects
        return False


def arrays(tree, dtype):
    """Every floating number and array of ``tree`` as a jax array of one dtype."""

    def convert(leaf):
        number = isinstance(leaf, float | np.floating | np.ndarray | jax.Array)
        return jnp.asarray(leaf, dtype) if number and np.asarray(leaf).dtype.kind == "f" else leaf

    return jax.tree.map(convert, tree)


def on_device(tree, dtype):
    """Every array of a pytree in the dtype of the data."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


class Method(eqx.Module):
    """Computes L(ω) and ∇L(ω) of a BilevelProblem.

    Class attributes
    ----------------
    stochastic : bool
        Whether two evaluations at one ω may differ by what they draw.
    remedy : str
        What makes the adjoint, or the method's own iteration, more exact.
    """

    stochastic: ClassVar[bool] = False
    remedy: ClassVar[str] = ""

    @abc.abstractmethod
    def evaluate(self, problem, omega, solver, state=None) -> Hypergradient:
        """The value and hypergradient at ω, in canonical form, from a warm start if given."""

    def comparable(self, solver) -> bool:
        """Whether values at two ω compare, so that a line search between them makes sense."""
        return solver.deterministic and not self.stochastic

    def within(self, tol) -> Method:
        """This method with its linear system solved to ``tol``; itself where there is none."""
        return self

    def value(self, problem, omega, solver) -> float:
        """L(ω) alone, in canonical form; infinite where it has no usable value."""
        found = self.evaluate(problem, omega, solver)
        return found.value if found.status.usable else np.inf

    def warm_start(self, solver, state):
        """The array to store so that a resumed run starts as warm, or None."""
        return solver.warm_start(state)

    def solution_state(self, state):
        """The part of a state that the problem's own solution can start from."""
        return state

    def function(self, problem, omega, solver, state) -> tuple[Function, Status]:
        """h_ω for the result of a search that ended with ``state``, and how its solve ended."""
        solution = solver.solve(problem, omega, self.solution_state(state))
        coefficients = on_device(solution.coefficients, data_dtype(problem, omega))
        return Function(solution.problem, omega, coefficients), solution.status
