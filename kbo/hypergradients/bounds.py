"""A computable bound on the error of a hypergradient, from the residuals of its two solves.

Let u and v be h and a in coordinates in which the norm of the space is Euclidean. The inner
residual is ρ = ∂_vΛ, the adjoint residual ρ_a = ∂_uΛ; A = ∂_uρ is the linear operator of both
solves, and H = ∂²_uuΛ. The errors of the two solutions are δu = A⁻¹ρ and δv = A⁻¹(ρ_a − Hδu). Some
steps of conjugate gradients give d ≈ A⁻¹ρ and e ≈ A⁻¹(ρ_a − Hd), whatever they are worth, and

    ‖δu − d‖ ≤ N ‖ρ − Ad‖,     ‖δv − e‖ ≤ N (‖ρ_a − Hd − Ae‖ + ‖H‖ ‖δu − d‖),     N ≥ ‖A⁻¹‖,

bound ‖δu‖ and ‖δv‖. Taylor's formula about the computed solutions gives, for each coordinate k of
ω,

    |error_k| ≤ ‖∂_kρ‖ ‖δv‖ + ‖∂_kρ_a‖ ‖δu‖ + ‖∂_kA‖ ‖δu‖ ‖δv‖ + ½ ‖∂_kH‖ ‖δu‖².

If both losses are squared, Λ is quadratic in (u, v) and no term is neglected. Otherwise terms of
third order in the residuals are neglected, and the bounds on δu and δv hold to first order. ‖H‖ is
estimated by a few steps of power iteration, ‖∂_kA‖ and ‖∂_kH‖ by random probes of their Frobenius
norms; each estimate is multiplied by a safety margin.

A is the Hessian of the inner objective: N = 1/ridge, by the constant of strong convexity. With
LLᵀ = K + E at the present ω, E a multiple of K's diagonal at the level of rounding, the coordinates
are u = Lᵀθ of coefficients θ, in an RKHS and in a Subspace, and L⁻¹ of the values of a where these
stand for a (RKHS); in a feature space they are the coefficients. In an RKHS, whose norm knows no E,
that costs ‖LᵀTEL⁻ᵀ‖ ≤ (max_i T_i E_i · Σ_i T_i (K + E)_ii)^½ of the ridge, where T are the
curvatures of the inner loss times w/Σw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from ..arithmetic import arithmetic
from ..instance import of_instance
from ..linalg import cross_gram
from ..linalg.sharding import everywhere
from ..spaces import RKHS, Subspace

NUGGET = 10.0  # in units of eps·n, the size of the rounding errors in a Gram matrix
STEPS = 30  # of conjugate gradients; without them ‖ρ‖/ridge would stand for ‖A⁻¹ρ‖
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


def _coordinates(instance, h_inner):
    space = instance.space
    if isinstance(space, Subspace):
        gram = space.gram()
    elif isinstance(space, RKHS):
        gram = cross_gram(space.kernel, instance.inner.x, instance.inner.x)
        diagonal, T = jnp.diag(gram), _curvatures(instance, h_inner)
        jitter = NUGGET * jnp.finfo(gram.dtype).eps * len(gram) * diagonal
        gram = gram + jnp.diag(jitter)
        scaled = jnp.sum(T * (diagonal + jitter), 1)
        lost = jnp.sqrt(jnp.max(T * jitter, 1) * scaled)
    else:
        same = lambda u: u  # noqa: E731
        return _Coordinates(same, same, same, same, jnp.zeros(()))
    scale = jnp.sqrt(jnp.diag(gram))
    L = scale[:, None] * jnp.linalg.cholesky(gram / jnp.outer(scale, scale))
    times = lambda matrix: lambda u: jnp.einsum("ij,fjp->fip", matrix, u)  # noqa: E731
    solved = lambda trans: jax.vmap(  # noqa: E731
        lambda u: jax.scipy.linalg.solve_triangular(L, u, lower=True, trans=trans))
    if isinstance(space, Subspace):
        return _Coordinates(solved(1), solved(1), times(L.T), times(L.T), jnp.zeros(()))
    return _Coordinates(solved(1), times(L), times(L.T), solved(0), lost)


def _curvatures(instance, h_inner):
    """The largest eigenvalue of w_i ∂²_vℓ_in/Σw, for each point and replicate."""
    weights = instance.inner.weight_matrix()
    present = jnp.where(weights[:, :, None] > 0, h_inner, 0)
    largest = jnp.linalg.eigvalsh(instance.inner_curvatures(present)).max(-1)
    return weights * largest / jnp.sum(weights, -1)[:, None]


@of_instance
def _terms(instance, frozen, shared):
    """Bounds on ‖δu‖ and ‖δv‖, (F,), and ‖∂_kρ‖, ‖∂_kρ_a‖, ‖∂_kA‖, ‖∂_kH‖, (q, F), by replicate."""
    flat, unravel = ravel_pytree(instance.omega)
    turn = _coordinates(instance, frozen.h_inner)
    u, v = turn.of_h(frozen.h), turn.of_a(frozen.a)
    frozen = frozen._replace(a_inner=None, gram=None)

    def residuals(omega, u, v=v):
        at = instance.at(omega)

        def lagrangian(u, v):
            held = frozen._replace(h=turn.h_of(u), a=turn.a_of(v))
            return at.lagrangian(*at.space.evaluations(at.inner, at.outer, held, shared))

        adjoint, inner = jax.grad(lagrangian, (0, 1))(u, v)
        return inner, adjoint

    def norm(vector):
        return jnp.sqrt(jnp.sum(vector**2, (1, 2)))

    inner, adjoint = residuals(instance.omega, u)
    keys = jax.random.split(jax.random.key(1), PROBES)
    probes = [jax.random.normal(key, u.shape, u.dtype) for key in keys]

    def along(tangent):
        def moved(omega):
            at = lambda u: residuals(unravel(omega), u)  # noqa: E731
            return at(u), [jax.jvp(at, (u,), (z,))[1] for z in probes]

        rates, probed = jax.jvp(moved, (flat,), (tangent,))[1]
        squares = [jnp.mean(jnp.stack([norm(z[k]) ** 2 for z in probed]), 0) for k in (0, 1)]
        return *map(norm, rates), *(MARGIN * jnp.sqrt(square) for square in squares)

    rates = jax.lax.map(along, jnp.eye(flat.size, dtype=flat.dtype))

    def power_step(vector, _):
        size = jnp.maximum(norm(vector), jnp.finfo(vector.dtype).tiny)
        image = jax.jvp(lambda u: residuals(instance.omega, u)[1], (u,),
                        (vector / size[:, None, None],))[1]
        return image, norm(image)

    start = jax.random.normal(jax.random.key(0), u.shape, u.dtype)
    hessian = MARGIN * jax.lax.scan(power_step, start, length=POWER_STEPS)[1].max(0)
    N = 1 / jnp.maximum(instance.ridge - turn.lost, 0)
    both = lambda d: jax.jvp(lambda u: residuals(instance.omega, u), (u,), (d,))[1]  # noqa: E731
    transposed = lambda e: jax.jvp(  # noqa: E731
        lambda v: residuals(instance.omega, u, v)[1], (v,), (e,))[1]
    d, _ = cg(lambda d: both(d)[0], inner, maxiter=STEPS, tol=0.0)
    image, turned = both(d)
    u_rest = N * norm(inner - image)
    e, _ = cg(transposed, adjoint - turned, maxiter=STEPS, tol=0.0)
    v_rest = N * (norm(adjoint - turned - transposed(e)) + hessian * u_rest)
    terms = norm(d) + u_rest, norm(e) + v_rest, *rates
    return everywhere(terms, instance.space.mesh)


def error_bound(instance, frozen, shared) -> float:
    """An upper bound on ‖grad − ∇L(ω)‖₂, for the solutions h and a in ``frozen``.

    It is infinite where rounding leaves nothing of the ridge, as it may in float32.
    """
    double = frozen.h.dtype == np.float64  # this may be called outside the context of the solve
    with arithmetic(double):
        terms = [np.asarray(term, float) for term in _terms(instance, frozen, shared)]
    h_error, a_error, inner_rates, adjoint_rates, A_rates, H_rates = terms
    with np.errstate(invalid="ignore"):  # 0·∞
        first = inner_rates * a_error + adjoint_rates * h_error
        per_coordinate = first + A_rates * h_error * a_error + 0.5 * H_rates * h_error**2
    bound = float(np.linalg.norm(per_coordinate.sum(1)))
    return np.inf if np.isnan(bound) else bound
