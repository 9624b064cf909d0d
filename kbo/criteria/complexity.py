"""Nyström complexity regularisation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..function import Function
from ..hypergradients.base import Method, finish
from ..instance import of_instance
from ..losses import Squared
from ..needs import Needs
from ..result import Hypergradient, Status
from ..solvers import Nystrom


@of_instance
def _value_and_grad(instance, noise):
    of = lambda omega: _complexity(instance.at(omega), noise)  # noqa: E731
    return jax.value_and_grad(of)(instance.omega)


def _complexity(instance, noise):
    x, weights = instance.inner.x, instance.inner.weight_matrix()[0]
    total = weights.sum()
    p = instance.n_outputs
    targets = -instance.inner_slopes(jnp.zeros((1, x.shape[0], p), x.dtype))[0]
    space, alpha = instance.space, instance.ridge[0] * total
    root = jnp.linalg.cholesky(space.gram())
    rows = space.kernel.matrix(x, space.centers) * jnp.sqrt(weights)[:, None]
    features = jax.scipy.linalg.solve_triangular(root, rows.T, lower=True)  # (M, n)
    normal = features @ features.T
    factor = jnp.linalg.cholesky(normal + alpha * jnp.eye(len(normal), dtype=x.dtype))
    half = lambda b: jax.scipy.linalg.solve_triangular(factor, b, lower=True)  # noqa: E731
    scaled = jnp.sqrt(weights)[:, None] * targets
    fit = jnp.sum(scaled**2) - jnp.sum(half(features @ scaled) ** 2)
    dimension = jnp.sum(half(features) ** 2)
    diagonal = jax.vmap(space.kernel.evaluate)(x, x)
    missing = jnp.sum(weights * diagonal) - jnp.trace(normal)
    value = noise * p * dimension + fit * (1 + missing / (alpha * total))
    return value / total + instance.penalty_value()


class NystromComplexity(Method):
    """L = (1/N) [σ² d_eff + e (1 + tr(K − K̃) / (α N))], for ``minimize(…, solver=Nystrom(…))``.

    K̃ is the Nyström approximation of K, d_eff = tr K̃(K̃ + αI)⁻¹ (for each output),
    e = tᵀ(I − K̃(K̃ + αI)⁻¹)t, N = Σw. L bounds the risk without holding data out. JAX
    differentiates it and keeps arrays of size n×M for that: it is meant for comparison, not for
    large problems.

    Parameters
    ----------
    noise_variance : float
        σ², in the squared units of the targets; the paper's code uses 1.

    References
    ----------
    Meanti, Carratino, De Vito, Rosasco (2022), Efficient Hyperparameter Tuning for Large Scale
    Kernel Ridge Regression: the objective proposed there.
    """

    noise_variance: Any = 1.0

    needs = Needs(
        losses=(Squared,), single=True, solvers=(Nystrom,), one_device=True,
        remedy="use cross-validation, method=kbo.hypergradients.Implicit()",
    )

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """L(ω) and its gradient, by automatic differentiation."""
        value, grad = _value_and_grad(instance, self.noise_variance)
        status = Status.CONVERGED if np.isfinite(value) else Status.SINGULAR
        return finish(
            instance, solver, value, grad, _Fit(instance, solver), status, (0.0, 0.0), state=state,
        )


class _Fit:
    """h_ω, solved for only when called: the criterion itself does not need it."""

    def __init__(self, instance, solver):
        self._at = instance, solver

    def __call__(self, x):
        instance, solver = self._at
        solution = solver.solve(instance)
        return Function(instance, jnp.asarray(solution.coefficients))(x)
