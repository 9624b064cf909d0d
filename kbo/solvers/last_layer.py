"""Last layers in closed form: argmin over W of an objective of values design·W.

A last layer W weighs in the objective by ‖W‖² (features), by tr WᵀKW (a kernel of features), or
by the mean square of values (an L2 space): the ``Norm``.
"""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp

from .objectives import constant_curvature, n_outputs

NEWTON_STEPS = 6  # for the last layer within a training step, where the loss is not squared
ROUNDING = 10  # times ε·trace: what is added to a Gram matrix that has no ridge of its own


class Norm(enum.Enum):
    """What the ridge weighs."""

    WEIGHTS = enum.auto()
    KERNEL = enum.auto()
    VALUES = enum.auto()


def last_layer(batch, of_batch, design, shares, norm):
    """argmin_W Σ shares ℓ(design W) + (ridge/2)‖·‖², (F, q, p), held fixed in derivatives.

    It is a minimiser, so its derivative adds nothing to that of the minimum.

    Parameters
    ----------
    batch : Instance
    of_batch : callable
        Values (F, b, p) to losses and slopes.
    design : array (F, b, q)
        Features, or (F, b, b) kernel matrices.
    shares : array (F, b)
    norm : Norm
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
        right = aim if norm is Norm.KERNEL else jnp.einsum("fiq,fip->fqp", design, aim)
        return solve(batch, design, curved, right, shares, norm)

    start = jnp.zeros((*design.shape[::2], n_outputs(batch)), design.dtype)
    if constant:
        return hold(newton_step(0, start))
    return hold(jax.lax.fori_loop(0, NEWTON_STEPS, newton_step, start))


def solve(batch, design, curved, right, shares, norm):
    """(ΦᵀCΦ + ridge·N)⁻¹ right, replicate by replicate, N the matrix of the norm: (F, q, p).

    ``curved`` is C: (F, b), or (F, b, p, p) where outputs are coupled. With a kernel it is
    (CK + ridge)⁻¹ right.
    """
    ridge = batch.ridge
    if norm is Norm.VALUES:
        # The ridge bends the loss itself.
        extra = ridge[:, None] * shares
        if curved.ndim == 4:
            extra = extra[..., None, None] * jnp.eye(curved.shape[-1], dtype=curved.dtype)
        curved, ridge = curved + extra, jnp.zeros_like(ridge)
    one = {
        (True, False): _features, (True, True): _coupled_features,
        (False, False): _kernel, (False, True): _coupled_kernel,
    }[norm is not Norm.KERNEL, curved.ndim == 4]
    return jax.lax.map(lambda own: one(*own), (design, curved, right, ridge))


def _features(design, curved, right, ridge):
    gram = design.T @ (curved[:, None] * design)
    return jax.scipy.linalg.solve(_ridged(gram, ridge), right, assume_a="pos")


def _coupled_features(design, curved, right, ridge):
    gram = jnp.einsum("iq,iab,ir->qarb", design, curved, design)
    gram = _ridged(gram.reshape(right.size, right.size), ridge)
    return jax.scipy.linalg.solve(gram, right.ravel(), assume_a="pos").reshape(right.shape)


def _kernel(kernel, curved, right, ridge):
    # In its symmetric form, C^½KC^½ + ridge.
    root = jnp.sqrt(curved)
    gram = root[:, None] * kernel * root + ridge * jnp.eye(len(kernel), dtype=kernel.dtype)
    inverse = jnp.where(root > 0, 1 / jnp.where(root > 0, root, 1), 0)
    return root[:, None] * jax.scipy.linalg.solve(gram, inverse[:, None] * right, assume_a="pos")


def _coupled_kernel(kernel, curved, right, ridge):
    gram = jnp.einsum("iab,ij->iajb", curved, kernel).reshape(right.size, right.size)
    gram = gram + ridge * jnp.eye(right.size, dtype=kernel.dtype)
    return jnp.linalg.solve(gram, right.ravel()).reshape(right.shape)


def _ridged(gram, ridge):
    """Features may be dependent: where there is no ridge, rounding must not make it indefinite."""
    floor = ROUNDING * jnp.finfo(gram.dtype).eps * jnp.trace(gram)
    return gram + jnp.where(ridge > 0, ridge, floor) * jnp.eye(len(gram), dtype=gram.dtype)
