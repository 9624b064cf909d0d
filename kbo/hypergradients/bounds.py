"""A computable bound on the error of a hypergradient, from the residuals of its two solves.

Let c be the coefficients of h in Λ(ω; c, a). The inner residual is ρ = ∂_aΛ, the adjoint residual
ρ_a = ∂_cΛ; A = ∂_cρ is the linear operator of both solves, and H = ∂²_ccΛ. The errors δc and δa of
the two solutions satisfy

    ‖δc‖ ≤ ‖A⁻¹‖ ‖ρ‖,     ‖δa‖ ≤ ‖A⁻¹‖ (‖ρ_a‖ + ‖H‖ ‖δc‖),

and Taylor's formula about the computed solutions gives, for each coordinate k of ω,

    |error_k| ≤ ‖∂_kρ‖ ‖δa‖ + ‖∂_kρ_a‖ ‖δc‖ + ‖∂_kA‖ ‖δc‖ ‖δa‖ + ½ ‖∂_kH‖ ‖δc‖².

If both losses are squared, Λ is quadratic in (c, a) and no term is neglected. Otherwise terms of
third order in the residuals are neglected, and the bounds on δc and δa hold to first order. ‖H‖ is
estimated by a few steps of power iteration, ‖∂_kA‖ and ‖∂_kH‖ by random probes of their Frobenius
norms; each estimate is multiplied by a safety margin.

‖A⁻¹‖ ≤ N follows from the ridge r, the constant of strong convexity of the inner problem. In
feature spaces N = 1/r. For kernel coefficients A = TK + r with T = wD/Σw, so that

    N = min(κ(T)^½, 1 + ½(‖T‖‖K‖/r)^½) / r        (κ(T) = 1, N = 1/r for equal curvatures),

where the trace of K stands for ‖K‖. In a Subspace, c and a are the whitened coordinates Lᵀθ with
LLᵀ = K_MM + δI at the present ω; the norm is Euclidean in them, so that again N = 1/r.
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


@of_instance
def _terms(instance, frozen, shared):
    """N, ‖ρ‖, ‖ρ_a‖, ‖H‖, (F,), and ‖∂_kρ‖, ‖∂_kρ_a‖, ‖∂_kA‖, ‖∂_kH‖, (q, F), by replicate."""
    flat, unravel = ravel_pytree(instance.omega)
    space = instance.space
    unwhiten = lambda u: u  # noqa: E731
    if isinstance(space, Subspace):
        L = jnp.linalg.cholesky(space.gram())
        unwhiten = jax.vmap(lambda u: jax.scipy.linalg.solve_triangular(L.T, u, lower=False))
        whiten = lambda theta: jnp.einsum("ji,fjp->fip", L, theta)  # noqa: E731
        frozen = frozen._replace(
            h=whiten(frozen.h), a=whiten(frozen.a), a_inner=None, gram=None
        )

    def residuals(omega, h):
        at = instance.at(omega)

        def lagrangian(h, a):
            held = frozen._replace(h=unwhiten(h), a=unwhiten(a))
            return at.lagrangian(*at.space.evaluations(at.inner, at.outer, held, shared))

        adjoint, inner = jax.grad(lagrangian, (0, 1))(h, frozen.a)
        return inner, adjoint

    weights = instance.inner.weight_matrix()
    kernel = isinstance(instance.space, RKHS)
    # Coefficients of points without weight are zero in exact arithmetic: norms leave them out.
    mask = jnp.where(weights > 0, 1.0, 0.0)[:, :, None] if kernel else 1.0

    def norm(vector):
        return jnp.sqrt(jnp.sum((mask * vector) ** 2, (1, 2)))

    inner, adjoint = residuals(instance.omega, frozen.h)

    keys = jax.random.split(jax.random.key(1), PROBES)
    probes = [mask * jax.random.normal(key, frozen.h.shape, frozen.h.dtype) for key in keys]

    def along(tangent):
        def moved(v):
            at = lambda h: residuals(unravel(v), h)  # noqa: E731
            return at(frozen.h), [jax.jvp(at, (frozen.h,), (z,))[1] for z in probes]

        rates, probed = jax.jvp(moved, (flat,), (tangent,))[1]
        squares = [jnp.mean(jnp.stack([norm(z[k]) ** 2 for z in probed]), 0) for k in (0, 1)]
        return *map(norm, rates), *(MARGIN * jnp.sqrt(square) for square in squares)

    rates = jax.lax.map(along, jnp.eye(flat.size, dtype=flat.dtype))

    def power_step(vector, _):
        size = jnp.maximum(norm(vector), jnp.finfo(vector.dtype).tiny)
        vector = mask * vector / size[:, None, None]
        image = jax.jvp(lambda h: residuals(instance.omega, h)[1], (frozen.h,), (vector,))[1]
        return image, norm(image)

    start = jax.random.normal(jax.random.key(0), frozen.h.shape, frozen.h.dtype)
    hessian = MARGIN * jax.lax.scan(power_step, start, length=POWER_STEPS)[1].max(0)

    inverse = 1 / instance.ridge
    if kernel:
        present = jnp.where(weights[:, :, None] > 0, frozen.h_inner, 0)
        curvatures = jnp.linalg.eigvalsh(instance.inner_curvatures(present))
        T = weights[:, :, None] * curvatures / jnp.sum(weights, -1)[:, None, None]
        largest = jnp.max(T, (1, 2))
        smallest = jnp.min(jnp.where(weights[:, :, None] > 0, T, jnp.inf), (1, 2))
        point = jax.vmap(instance.space.kernel.evaluate)(instance.inner.x, instance.inner.x)
        trace = jnp.sum(jnp.where(weights > 0, point, 0.0), 1)
        scaled = jnp.where(smallest > 0, jnp.sqrt(largest / smallest), jnp.inf)
        general = 1 + 0.5 * jnp.sqrt(jnp.maximum(largest, 0) * trace / instance.ridge)
        inverse = jnp.minimum(scaled, general) * inverse
    terms = inverse, norm(inner), norm(adjoint), hessian, *rates
    return everywhere(terms, space.mesh)


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
