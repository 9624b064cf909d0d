"""An evaluation by implicit differentiation as one compiled program: for few points, or on a GPU.

With a squared loss and the representer theorem, the inner solution, its adjoint and the reverse
pass of Λ fit into one XLA program. At a few dozen points the calls between LAPACK and the parts of
the evaluation take longer than all that is computed; and on a GPU no matrix need go to the host. A
result that the program cannot certify, for want of a positive definite system or of digits, is left
to the solver on the host.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..instance import of_instance
from ..solvers import Exact
from ..solvers._traced import newton
from ..spaces import RKHS, Frozen

LARGEST = 200  # points times replicates, up to which it is quicker than the host: benchmarks.solve
JUDGED = 10  # times as many outer points at most: their matrix is formed as a whole
ON_DEVICE = 20_000  # the same on an accelerator, where the matrices of all replicates must fit
DIGITS = 1e-9  # relative residual of both systems that is certified


class Fused(NamedTuple):
    """What ``fused`` finds.

    Attributes
    ----------
    value : array ()
        Λ, which is L to second order.
    grad : pytree
    frozen : Frozen
    adjoint : array (F, N, p)
        The coefficients of a, on the inner points, then on the outer ones if these are others.
    residuals : pair of array ()
        ‖∇J‖_H and ‖∇J_adj‖_H, the worst over replicates.
    certified : array () of bool
    """

    value: jax.Array
    grad: object
    frozen: Frozen
    adjoint: jax.Array
    residuals: tuple[jax.Array, jax.Array]
    certified: jax.Array


def fused(instance, solver) -> Fused | None:
    """L and ∇L with a squared loss; None where they are left to the host."""
    most = _most(instance.inner.x)
    if not (
        type(solver) is Exact and type(instance.space) is RKHS and instance.dtype == np.float64
        and instance.problem.inner_loss.constant_curvature and not instance.problem.streamed
        and instance.inner.size * len(instance.ridge) <= most
        and instance.outer.size <= JUDGED * most
    ):
        return None
    found = _evaluated(instance, solver, instance.shared)
    return found if found.certified else None


def _most(x):
    """How many points times replicates, where the points ``x`` are."""
    platforms = {device.platform for device in x.devices()} if isinstance(x, jax.Array) else {"cpu"}
    return LARGEST if "cpu" in platforms else ON_DEVICE


@of_instance
def _evaluated(instance, solver, shared):
    equations = solver.equations(instance)
    theta, factor, report = newton(equations, solver.max_newton, solver.tol)
    h_inner = equations.values(theta)
    gram = instance.space.kernel.matrix(instance.outer.x, instance.inner.x)
    h_outer = h_inner if shared else jnp.einsum("ji,fip->fjp", gram, theta)
    slopes = jax.grad(instance.outer_value)(h_outer)

    # a = Σ β_i k(x_i, ·) + e with e = −Σ_j (slopes_j/ridge) k(x'_j, ·), (αI + WK)β = −W e(X).
    alpha, total, ridge = (
        part[:, None, None] for part in (equations.alpha, equations.total, instance.ridge)
    )
    weights = equations.weights[:, :, None]
    riesz = -slopes / ridge
    embedding = jnp.einsum("ji,fjp->fip", gram, riesz)
    rhs = -weights * embedding

    def rest(beta):
        return rhs - alpha * beta - weights * equations.values(beta)

    beta = equations.solve(factor, rhs / total)
    beta += equations.solve(factor, rest(beta) / total)
    # Where a weight is positive, a follows from W a = −αβ without cancellation for small α.
    known = -alpha * beta / jnp.where(weights > 0, weights, 1.0)
    a = jnp.where(weights > 0, known, equations.values(beta) + embedding)
    frozen = Frozen(theta, a, h_inner, h_outer, a)

    def lagrangian(omega):
        at = instance.at(omega)
        return at.lagrangian(*at.space.evaluations(at.inner, at.outer, frozen, shared))

    value, grad = jax.value_and_grad(lagrangian)(instance.omega)
    size = lambda part: jnp.linalg.norm(part, axis=(1, 2))  # noqa: E731
    scale = instance.ridge * jnp.sqrt(jnp.maximum(equations.square_norm(theta, h_inner), 0.0))
    left = rest(beta)
    certified = (
        (report.ending == 0) & (report.jitter == 0)
        & jnp.all(equations.norm(equations.residual(theta)) <= DIGITS * scale)
        & jnp.all(size(left) <= DIGITS * size(rhs))
    )
    coefficients = beta + riesz if shared else jnp.concatenate([beta, riesz], axis=1)
    of_adjoint = jnp.max(equations.norm(left) / equations.total)
    return Fused(value, grad, frozen, coefficients, (report.residual, of_adjoint), certified)
