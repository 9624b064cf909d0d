"""How far a tuned criterion and the ω that minimises it depend on the sample that judged them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..arithmetic import resolve
from ..criteria import LeaveOut
from ..hypergradients import Implicit, Mean
from ..result import BilevelError
from ..solvers import Exact
from .session import prepare
from .verbs import flat_bounds

FLAT = 1e-6  # of the largest curvature of L: along flatter directions nothing is determined
AT_BOUND = 1e-8


@dataclass(frozen=True)
class StandardErrors:
    """What ``standard_errors`` found.

    Attributes
    ----------
    value : float
        Of L(ω).
    omega : pytree
        Of each entry of the minimiser, in the structure of ω. Infinite where L does not determine
        the entry: it is at a bound, or L is flat along it.
    hessian : ndarray (k, k)
        ∇²L(ω), in the order of ω's leaves.
    parts : ndarray (B,)
        L_b(ω).
    """

    value: float
    omega: Any
    hessian: np.ndarray
    parts: np.ndarray


def standard_errors(
    problem, omega, *, solver=None, method=None, bounds=None, batches=20, step=1e-3
) -> StandardErrors:
    """Standard errors of L(ω) and of its minimiser, from the parts of which L is the mean.

        L = Σ_b s_b L_b,  Σ_b s_b = 1      V = B/(B−1) Σ_b s_b² (∇L_b − ∇L)(∇L_b − ∇L)ᵀ
        se(L)² = B/(B−1) Σ_b s_b² (L_b − L)²       se(ω̂)² = diag(H⁻¹ V H⁻¹),  H = ∇²L(ω)

    The parts are the replicates (folds), the problems of ``Mean``, or, where there is one
    replicate only, ``batches`` random batches of outer points. H is found by central differences
    of hypergradients. Parts are taken as independent. Folds share training samples, so theirs are
    not quite: what is measured is how the result varies with the points it is judged on.

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree
        A minimiser of L, or close to one.
    solver, method
        As in minimize.
    bounds : pair of pytrees or numbers, optional
        Those of the search: entries of ω at a bound are not estimates.
    batches : int
    step : float
        Of the differences, in units of ω (which holds logarithms, most of the time).

    Returns
    -------
    StandardErrors

    Raises
    ------
    ValueError
        If there are fewer than two parts.
    BilevelError
        If a hypergradient cannot be computed.

    References
    ----------
    van der Vaart (1998), Asymptotic Statistics, Theorem 5.23 (M-estimators).
    Bengio, Grandvalet (2004): no estimator of the variance of K-fold cross-validation is unbiased.
    """
    with prepare(problem, omega, solver or Exact(), method or Implicit()) as session:
        return errors_of(session, bounds=bounds, batches=batches, step=step)


def errors_of(session, *, bounds=None, batches=20, step=1e-3) -> StandardErrors:
    """As ``standard_errors``, at the first ω of a session."""
    parts = _parts(session, batches)
    if len(parts) < 2:
        raise ValueError("standard errors need at least two replicates, problems or batches")
    flat, unravel = ravel_pytree(session.omega)
    flat = np.asarray(flat, float)

    def at(point, session=session):
        found = session.evaluate(unravel(jnp.asarray(point)))
        if not found.status.usable:
            raise BilevelError(found.status, found)
        return found.value, np.asarray(ravel_pytree(found.grad)[0], float)

    values, slopes = zip(*[at(flat, part) for part, _ in parts], strict=True)
    share = np.array([share for _, share in parts])
    share = share / share.sum()
    edges = np.array(flat_bounds(bounds, session.omega))
    free = (np.abs(flat - edges) > AT_BOUND).all(0)
    hessian = np.zeros((flat.size, flat.size))
    for k in range(flat.size):
        shift = step * np.eye(flat.size)[k]
        hessian[k] = (at(flat + shift)[1] - at(flat - shift)[1]) / (2 * step)
    hessian = 0.5 * (hessian + hessian.T)
    spread = lambda v: np.sqrt(len(share) / (len(share) - 1)) * share[:, None] * (v - share @ v)  # noqa: E731
    errors = np.full(flat.size, np.inf)
    errors[free] = _sandwich(hessian[np.ix_(free, free)], spread(np.array(slopes))[:, free])
    values = np.array(values)
    return StandardErrors(
        value=float(np.linalg.norm(spread(values[:, None]))),
        omega=jax.tree.map(np.asarray, unravel(jnp.asarray(errors))), hessian=hessian, parts=values,
    )


def _sandwich(hessian, spread):
    """√diag(H⁻¹ V H⁻¹), V = spreadᵀspread; infinite along directions in which H is flat."""
    if not hessian.size:
        return np.zeros(0)
    curvature, directions = np.linalg.eigh(hessian)
    known = curvature > FLAT * max(curvature.max(), 0.0)
    steps = spread @ directions[:, known] / curvature[known] @ directions[:, known].T
    undetermined = (directions[:, ~known] ** 2).sum(1) > 1e-2
    return np.where(undetermined, np.inf, np.linalg.norm(steps, axis=0))


def _parts(session, batches):
    """[(session, share)], L being their mean weighted by the shares."""
    problem, method = session.problem, session.method
    if isinstance(method, Mean):
        one = lambda p: eqx.tree_at(lambda m: m.problems, method, (p,))  # noqa: E731
        return [(dataclasses.replace(session, method=one(p)), 1.0) for p in method.problems]
    outer = problem.outer_data
    if callable(outer):
        raise ValueError("standard errors need outer_data that do not depend on omega")
    weights = np.asarray(outer.weight_matrix())
    if not isinstance(method, LeaveOut) and len(weights) > 1:
        one = lambda f: session.on_part(_replicate(problem, f))  # noqa: E731
        return [(one(f), row.sum()) for f, row in enumerate(weights)]
    folds = np.arange(outer.size)
    if isinstance(method, LeaveOut) and method.folds is not None:
        folds = np.atleast_2d(method.folds)[0]  # the first repetition's, kept in one piece
    labels = np.unique(folds[(weights > 0).any(0)], return_inverse=True)[1]
    batch = np.full(outer.size, -1)
    drawn = np.random.default_rng(0).permutation(labels.max() + 1) % batches
    batch[(weights > 0).any(0)] = drawn[labels]
    found = []
    for b in range(min(batches, labels.max() + 1)):
        own = np.where(batch == b, weights, 0.0)
        found.append((session.on_part(_reweighted(problem, own)), own.sum()))
    return found


def _reweighted(problem, weights):
    outer = problem.outer_data
    weights = jnp.asarray(weights, outer.x.dtype)
    if outer.weights is None or outer.weights.ndim == 1:
        weights = weights[0]
    none = lambda leaf: leaf is None  # noqa: E731
    return problem.replace(
        outer_data=eqx.tree_at(lambda s: s.weights, outer, weights, is_leaf=none)
    )


class _RidgeOf(eqx.Module):
    """One replicate's ridge."""

    ridge: Any
    replicate: Any

    def __call__(self, omega):
        ridge = jnp.asarray(resolve(self.ridge, omega))
        return ridge.reshape(-1)[self.replicate] if ridge.size > 1 else ridge.reshape(())


class _SampleOf(eqx.Module):
    """One replicate's weights."""

    sample: Any
    replicate: Any

    def __call__(self, omega):
        return _row(self.sample(omega), self.replicate)


def _row(sample, f):
    if sample.weights is None or sample.weights.ndim == 1 or len(sample.weights) == 1:
        return sample
    return eqx.tree_at(lambda s: s.weights, sample, sample.weights[f][None])


def _replicate(problem, f):
    """Replicate f alone; f is data, so that all share one compilation."""
    f = jnp.asarray(f)
    inner = problem.inner_data
    return problem.replace(
        inner_data=_SampleOf(inner, f) if callable(inner) else _row(inner, f),
        outer_data=_row(problem.outer_data, f), ridge=_RidgeOf(problem.ridge, f),
    )
