"""Standard errors of a tuned criterion and of the ω that minimises it."""

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
from ..module import Module
from ..result import BilevelError
from .bounds import flat_bounds
from .session import prepare

FLAT = 1e-6  # curvature of L, relative to the largest, below which L counts as flat
AT_BOUND = 1e-8


@dataclass(frozen=True)
class StandardErrors:
    """The result of ``standard_errors``.

    Attributes
    ----------
    value : float
        The standard error of L(ω).
    omega : pytree
        The standard error of each entry of the minimiser, in the structure of ω. It is infinite for
        an entry that is at a bound, or along which L is flat.
    hessian : ndarray (k, k)
        ∇²L(ω), in the order of ω's leaves.
    parts : ndarray (B,)
        The values L_b(ω) of the parts.
    """

    value: float
    omega: Any
    hessian: np.ndarray
    parts: np.ndarray


def standard_errors(
    problem, omega, *, solver=None, method=None, bounds=None, batches=20, step=1e-3
) -> StandardErrors:
    """Standard errors of L(ω) and of its minimiser, from the parts of which L is the mean::

        L = Σ_b s_b L_b,  Σ_b s_b = 1      V = B/(B−1) Σ_b s_b² (∇L_b − ∇L)(∇L_b − ∇L)ᵀ
        se(L)² = B/(B−1) Σ_b s_b² (L_b − L)²       se(ω̂)² = diag(H⁻¹ V H⁻¹),  H = ∇²L(ω)

    The parts are the replicates (folds) or the problems of ``Mean``. If there is one replicate
    only, or for ``LeaveOut``, they are ``batches`` random batches of outer points, where the folds
    of ``LeaveOut`` are kept whole. H is computed by central differences of hypergradients. The
    formulas take the parts as independent. Folds are not quite, as they share training samples: the
    errors measure how the result varies with the points on which it is evaluated.

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree
        A minimiser of L, or close to one.
    solver, method
        As in minimize.
    bounds : pair of pytrees or numbers, optional
        The bounds of the search; entries of ω at a bound have no standard error.
    batches : int
        The number of batches, at most that of the points or folds.
    step : float
        Absolute step of the differences in ω (whose entries often are logarithms).

    Returns
    -------
    StandardErrors

    Raises
    ------
    ValueError
        If there are fewer than two parts, or if ``outer_data`` depend on ω.
    BilevelError
        If a hypergradient cannot be computed.

    References
    ----------
    van der Vaart (1998), Asymptotic Statistics, Theorem 5.23 (M-estimators).
    Bengio, Grandvalet (2004): no estimator of the variance of K-fold cross-validation is unbiased.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> jax.config.update("jax_enable_x64", True)
    >>> x = jnp.linspace(0.0, 6.0, 30)
    >>> y = jnp.sin(x) + 0.3 * jax.random.normal(jax.random.key(0), (30,))
    >>> problem = kbo.BilevelProblem(
    ...     kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x[::2], y[::2]),
    ...     kbo.Sample(x[1::2], y[1::2]), kbo.RKHS(kbo.kernels.Gaussian()), ridge=jnp.exp)
    >>> result = kbo.minimize(problem, jnp.array(-3.0))
    >>> errors = kbo.standard_errors(problem, result.omega)
    >>> print(f"{result.omega:.1f} ± {errors.omega:.1f}")
    -2.9 ± 0.6
    """
    with prepare(problem, omega, solver, method or Implicit()) as session:
        return errors_of(session, bounds=bounds, batches=batches, step=step)


def errors_of(session, *, bounds=None, batches=20, step=1e-3) -> StandardErrors:
    """``standard_errors`` at the first ω of a session."""
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
    """Pairs (session, share) of the parts; L is their mean, weighted by the shares."""
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
        folds = np.atleast_2d(method.folds)[0]  # those of the first repetition, kept whole
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


class _RidgeOf(Module):
    """ω ↦ the ridge of one replicate."""

    ridge: Any
    replicate: Any

    def __call__(self, omega):
        ridge = jnp.asarray(resolve(self.ridge, omega))
        return ridge.reshape(-1)[self.replicate] if ridge.size > 1 else ridge.reshape(())


class _SampleOf(Module):
    """ω ↦ a sample that depends on ω, with the weights of one replicate."""

    sample: Any
    replicate: Any

    def __call__(self, omega):
        return _row(self.sample(omega), self.replicate)


def _row(sample, f):
    if sample.weights is None or sample.weights.ndim == 1 or len(sample.weights) == 1:
        return sample
    return eqx.tree_at(lambda s: s.weights, sample, sample.weights[f][None])


def _replicate(problem, f):
    """The problem of replicate f alone, with f as an array, so that all share one compilation."""
    f = jnp.asarray(f)
    inner = problem.inner_data
    return problem.replace(
        inner_data=_SampleOf(inner, f) if callable(inner) else _row(inner, f),
        outer_data=_row(problem.outer_data, f), ridge=_RidgeOf(problem.ridge, f),
    )
