"""A computable bound on the error of a hypergradient, from the residuals of its two solves.

Let u and v be h and a in coordinates in which the norm of the space is Euclidean. The inner
residual is ρ = ∂_vΛ, the adjoint residual ρ_a = ∂_uΛ; A = ∂_uρ is the linear operator of both
solves, and H = ∂²_uuΛ. The errors δu and δv of the two solutions satisfy

    ‖δu‖ ≤ ‖A⁻¹‖ ‖ρ‖,     ‖δv‖ ≤ ‖A⁻¹‖ (‖ρ_a‖ + ‖H‖ ‖δu‖),

and Taylor's formula about the computed solutions gives, for each coordinate k of ω,

    |error_k| ≤ ‖∂_kρ‖ ‖δv‖ + ‖∂_kρ_a‖ ‖δu‖ + ‖∂_kA‖ ‖δu‖ ‖δv‖ + ½ ‖∂_kH‖ ‖δu‖².

If both losses are squared, Λ is quadratic in (u, v) and no term is neglected. Otherwise terms of
third order in the residuals are neglected, and the bounds on δu and δv hold to first order. ‖H‖ is
estimated by a few steps of power iteration, ‖∂_kA‖ and ‖∂_kH‖ by random probes of their Frobenius
norms; each estimate is multiplied by a safety margin.

A is the Hessian of the inner objective: ‖A⁻¹‖ ≤ 1/ridge, the constant of strong convexity. With
LLᵀ = K + δI at the present ω the coordinates are u = Lᵀθ of coefficients θ, in an RKHS and in a
Subspace, and L⁻¹ of the values of a where these stand for a (RKHS); in a feature space they are the
coefficients. In an RKHS, whose norm knows no δ, that costs δ‖LᵀTL⁻ᵀ‖ ≤ ‖T‖ (δ ‖K + δI‖)^½ of the
ridge, T the curvatures of the inner loss times w/Σw, and the trace stands for the norm.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..arithmetic import arithmetic
from ..instance import of_instance
from ..linalg.sharding import everywhere
from ..spaces import RKHS, Subspace

POWER_STEPS = 8
MARGIN = 2.0  # power iteration approaches ‖H‖ from below; a probe may fall short of the norm
PROBES = 3


class _Coordinates(NamedTuple):
    """Maps from whitened coordinates to what ``Frozen`` holds of h and a, and back."""

    h_of: Callable
    a_of: Callable
    of_h: Callable
    of_a: Callable
    lost: jax.Array  # of the ridge, by the jitter of the factor


def _coordinates(instance):
    space = instance.space
    if isinstance(space, Subspace):
        gram, lost = space.gram(), 0.0
    elif isinstance(space, RKHS):
        gram = cross_gram(space.kernel, instance.inner.x, instance.inner.x)
        jitter = NUGGET * jnp.finfo(gram.dtype).eps * jnp.trace(gram)
        gram = gram.at[jnp.diag_indices(len(gram))].add(jitter)
        lost = jnp.max(_curvatures(instance)) * jnp.sqrt(jitter * jnp.trace(gram))
    else:
        same = lambda u: u  # noqa: E731
        return _Coordinates(same, same, same, same, jnp.zeros(()))
    L = jnp.linalg.cholesky(gram)
    times = lambda matrix: lambda u: jnp.einsum("ij,fjp->fip", matrix, u)  # noqa: E731
    solved = lambda trans: jax.vmap(  # noqa: E731
        lambda u: jax.scipy.linalg.solve_triangular(L, u, lower=True, trans=trans))
    if isinstance(space, Subspace):
        return _Coordinates(solved(1), solved(1), times(L.T), times(L.T), jnp.zeros(()))
    return _Coordinates(solved(1), times(L), times(L.T), solved(0), lost)


def error_bound(instance, frozen, shared) -> float:
    """An upper bound on ‖grad − ∇L(ω)‖₂, for the solutions h and a in ``frozen``."""
    double = frozen.h.dtype == np.float64  # this may be called outside the context of the solve
    with arithmetic(double):
        terms = [np.asarray(term, float) for term in _terms(instance, frozen, shared)]
    N, inner, adjoint, H, inner_rates, adjoint_rates, A_rates, H_rates = terms
    h_error = N * inner
    a_error = N * (adjoint + H * h_error)
    first = inner_rates * a_error + adjoint_rates * h_error
    per_coordinate = first + A_rates * h_error * a_error + 0.5 * H_rates * h_error**2
    return float(np.linalg.norm(per_coordinate.sum(1)))
