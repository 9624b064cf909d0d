"""Confidence intervals for the value and the hypergradient of one data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import stats

import kbo


@dataclass(frozen=True)
class HypergradientInterval:
    """What ``hypergradient_interval`` found.

    Attributes
    ----------
    value, grad : float, ndarray (q,)
        L̂(ω) and ∇L̂(ω), in the order of ω's leaves.
    value_error, grad_error : float, ndarray (q,)
        Standard errors.
    value_interval : pair of float
    grad_interval : ndarray (q, 2)
    covariance : ndarray (q, q)
        Of ∇L̂.
    """

    value: float
    grad: np.ndarray
    value_error: float
    grad_error: np.ndarray
    value_interval: tuple[float, float]
    grad_interval: np.ndarray
    covariance: np.ndarray


class _Weighted(eqx.Module):
    """ω ↦ a sample whose weights are part of ω."""

    sample: kbo.Sample
    key: str = eqx.field(static=True)

    def __call__(self, omega):
        return kbo.Sample(self.sample.x, self.sample.target, omega[self.key])


class _Inside(eqx.Module):
    """f of the user's own ω, where ω holds weights besides."""

    function: Any

    def __call__(self, omega, *rest):
        return self.function(omega["omega"], *rest)


def hypergradient_interval(problem, omega, *, confidence=0.95, solver=None, step=1e-4):
    """L̂(ω) and ∇L̂(ω) with confidence intervals for what they estimate, L(ω) and ∇L(ω).

        var ∇L̂ ≈ Σ_i (∂∇L̂/∂w_i)(∂∇L̂/∂w_i)ᵀ + Σ_j (∂∇L̂/∂v_j)(∂∇L̂/∂v_j)ᵀ

    over the weights w of the inner and v of the outer samples: the infinitesimal jackknife, that is
    the variance of the influence function (of the leading term of the U-statistic). The
    derivatives are hypergradients in the weights, differenced along ω: 2q of them in all.

    The samples must be independent, inner from outer too. The interval is for the population
    problem at the same ridge, and holds as n, m → ∞; the bias, of order 1/n, is not removed.

    Parameters
    ----------
    problem : BilevelProblem
        Without replicates; its samples do not depend on ω.
    omega : pytree
    confidence : float
    solver : kbo.solvers.Solver, default Exact()
    step : float
        Of the differences, in units of ω.

    Returns
    -------
    HypergradientInterval

    Raises
    ------
    ValueError
        For replicates, or samples that depend on ω.
    BilevelError
        Where the inner problem cannot be solved.

    References
    ----------
    Efron (1982), The Jackknife, the Bootstrap and Other Resampling Plans, Chapter 6.
    Giordano, Stephenson, Liu, Jordan, Broderick (2019), A Swiss Army Infinitesimal Jackknife.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must lie between 0 and 1")
    samples = {"inner": problem.inner_data, "outer": problem.outer_data}
    weights = {}
    for name, sample in samples.items():
        if callable(sample):
            raise ValueError(f"{name}_data must be a kbo.Sample, not a function of omega")
        with jax.enable_x64(True):
            matrix = np.asarray(sample.weight_matrix(), float)
        if len(matrix) != 1:
            raise ValueError(f"{name}_data has {len(matrix)} replicates: give one")
        weights[name] = matrix[0]
    with jax.enable_x64(True):
        whole = _with_weights(problem, samples)
        flat, unravel = ravel_pytree(jax.tree.map(lambda v: jnp.asarray(v, float), omega))

        def at(point):
            found = kbo.value_and_hypergradient(
                whole, {"omega": unravel(point), **weights}, solver=solver
            )
            grad = np.asarray(ravel_pytree(found.grad["omega"])[0])
            # One sample more moves L by its derivative times what it weighs.
            influence = [weights[k] * found.grad[k] for k in weights]
            return found.value, grad, np.concatenate(influence)

        value, grad, influence = at(flat)
        rows = []
        for k in range(flat.size):
            shift = step * jnp.eye(flat.size)[k]
            rows.append((at(flat + shift)[2] - at(flat - shift)[2]) / (2 * step))
    rows = np.array(rows)
    covariance = rows @ rows.T
    error = np.sqrt(np.diag(covariance))
    value_error = float(np.linalg.norm(influence))
    z = stats.norm.ppf(0.5 + 0.5 * confidence)
    return HypergradientInterval(
        value=value, grad=grad, value_error=value_error, grad_error=error,
        value_interval=(value - z * value_error, value + z * value_error),
        grad_interval=np.stack([grad - z * error, grad + z * error], 1), covariance=covariance,
    )


def _with_weights(problem, samples):
    """The problem whose ω also holds the weights of both samples."""
    wrap = lambda part: _Inside(part) if callable(part) else part  # noqa: E731
    return problem.replace(
        inner_loss=_Inside(problem.inner_loss), outer_loss=_Inside(problem.outer_loss),
        inner_data=_Weighted(samples["inner"], "inner"),
        outer_data=_Weighted(samples["outer"], "outer"),
        space=wrap(problem.space), ridge=wrap(problem.ridge),
        penalty=None if problem.penalty is None else _Inside(problem.penalty),
    )
