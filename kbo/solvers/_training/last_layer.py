"""Last layers in closed form: the W that minimises an objective of the values design·W.

The objective penalises ‖W‖² (features) or tr WᵀKW (a kernel of features).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .objectives import constant_curvature

NEWTON_STEPS = 6  # per training step, for losses without constant curvature
ROUNDING = 10  # times ε·(size of a Gram matrix)


def last_layer(batch, of_batch, design, shares, linear):
    """argmin_W Σ shares ℓ(design W) + (ridge/2)‖·‖², (F, q, p), with a derivative of zero.

    As W is a minimiser, the derivative of the minimum does not need that of W.

    Parameters
    ----------
    batch : Instance
    of_batch : callable
        Maps values (F, b, p) to losses and slopes.
    design : array (F, b, q)
        Features, or (F, b, b) kernel matrices.
    shares : array (F, b)
        The weight of each row in the mean.
    linear : bool
        Whether the design consists of features.
    """
    hold = jax.lax.stop_gradient
    design, constant = hold(design), constant_curvature(batch)

    def newton_step(_, layer):
        values = design @ layer
        slopes = of_batch(values)[1]
        if constant:
            curved, aim = shares, shares[..., None] * (values - slopes)
        else:
            bent = batch.inner_curvatures(values)
            curved = shares[..., None, None] * bent
            aim = shares[..., None] * (jnp.einsum("fiab,fib->fia", bent, values) - slopes)
        right = jnp.einsum("fiq,fip->fqp", design, aim) if linear else aim
        return _solve(design, curved, right, batch.ridge, linear)

    start = jnp.zeros((*design.shape[::2], batch.n_outputs), design.dtype)
    if constant:
        return hold(newton_step(0, start))
    return hold(jax.lax.fori_loop(0, NEWTON_STEPS, newton_step, start))


def _solve(design, curved, right, ridge, linear):
    """(ΦᵀCΦ + ridge)⁻¹ right, or (CK + ridge)⁻¹ right, for each replicate: (F, q, p).

    ``curved`` is C, of shape (F, b), or (F, b, p, p) if outputs are coupled.
    """
    one = {
        (True, False): feature_layer, (True, True): _coupled_features,
        (False, False): _kernel, (False, True): _coupled_kernel,
    }[linear, curved.ndim == 4]
    return jax.lax.map(lambda own: one(*own), (design, curved, right, ridge))


def feature_layer(design, curved, right, ridge):
    """(ΦᵀCΦ + ridge)⁻¹ right, (q, p), for features Φ (b, q) and C = diag(curved)."""
    return _solved(design.T @ (curved[:, None] * design), right, ridge)


def _coupled_features(design, curved, right, ridge):
    gram = jnp.einsum("iq,iab,ir->qarb", design, curved, design)
    flat = _solved(gram.reshape(right.size, right.size), right.ravel(), ridge)
    return flat.reshape(right.shape)


def _solved(gram, right, ridge):
    # Features grow during training, and rounding must not make their Gram matrix indefinite. The
    # error of a Cholesky factor is relative to the diagonal entry of each row (Demmel 1989).
    rounding = ROUNDING * len(gram) * jnp.finfo(gram.dtype).eps * jnp.diagonal(gram)
    gram = gram + jnp.diag(ridge + rounding)
    return jax.scipy.linalg.solve(gram, right, assume_a="pos")


def _kernel(kernel, curved, right, ridge):
    # In the symmetric form with C^½KC^½ + ridge.
    root = jnp.sqrt(curved)
    gram = root[:, None] * kernel * root + ridge * jnp.eye(len(kernel), dtype=kernel.dtype)
    inverse = jnp.where(root > 0, 1 / jnp.where(root > 0, root, 1), 0)
    return root[:, None] * jax.scipy.linalg.solve(gram, inverse[:, None] * right, assume_a="pos")


def _coupled_kernel(kernel, curved, right, ridge):
    gram = jnp.einsum("iab,ij->iajb", curved, kernel).reshape(right.size, right.size)
    gram = gram + ridge * jnp.eye(right.size, dtype=kernel.dtype)
    return jnp.linalg.solve(gram, right.ravel()).reshape(right.shape)

