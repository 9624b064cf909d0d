"""Randomly pivoted Cholesky: a low-rank factor of a Gram matrix, and its pivots."""

from __future__ import annotations

import jax
import numpy as np

from ..programs import program
from .blas import product
from .cholesky import Cholesky, SingularSystem
from .kernel_products import cross_gram

PROPOSALS = 64  # pivots proposed at once
BLOCK_JITTERS = (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7)  # accepted points may be close together


def rp_cholesky(kernel, x, rank, rng):
    """Pivots (r,) and F (N, r) with F Fᵀ ≈ k(x, x); r < rank if the residual vanishes before.

    Pivots are proposed in blocks and thinned by rejection. Their distribution is the same as if
    they were drawn one at a time.

    Parameters
    ----------
    kernel : kbo.kernels.Kernel
    x : array (N, d)
    rank : int
    rng : numpy.random.Generator

    Raises
    ------
    kbo.linalg.SingularSystem
        If some k(x, x) is negative, or some k(x, z) not finite.

    References
    ----------
    Epperly, Tropp, Webber (2024), Embrace rejection: kernel matrix approximation by accelerated
    randomly pivoted Cholesky.
    """
    residual = np.array(diagonal_of(kernel, x), float)
    if (residual < 0).any():
        raise SingularSystem("the kernel has negative values k(x, x)")
    smallest = 1e-14 * residual.mean()
    pivots, F = [], np.zeros((len(x), rank), order="F")
    while (count := len(pivots)) < rank:
        residual[residual < smallest] = 0.0
        mass = residual.sum()
        if not mass > 0:
            break
        proposed = rng.choice(len(x), PROPOSALS, p=residual / mass)
        core = np.array(cross(kernel, x[proposed], x[proposed]), float)
        core -= F[proposed, :count] @ F[proposed, :count].T
        accepted = proposed[_thin(core, rng.uniform(size=PROPOSALS))][: rank - count]
        if not len(accepted):
            continue
        padded = np.resize(accepted, PROPOSALS)  # one shape, so one compilation
        G = np.array(cross(kernel, x, x[padded])[:, : len(accepted)], float)
        if not np.isfinite(G).all():
            raise SingularSystem("the kernel has non-finite values")
        if count:
            G -= product(F[:, :count], np.ascontiguousarray(F[accepted, :count].T))
        try:
            factor = Cholesky(G[accepted].copy, BLOCK_JITTERS)
        except SingularSystem:
            if not count:
                raise
            break  # thinning keeps blocks well conditioned: the residual is rounding
        new = factor.root_solve(np.asfortranarray(G.T)).T
        F[:, count : count + len(accepted)] = new
        residual = np.maximum(residual - np.sum(new**2, 1), 0.0)
        residual[accepted] = 0.0
        pivots.extend(accepted)
    return np.array(pivots, int), F[:, : len(pivots)]


def _thin(core, uniforms):
    """The surviving proposals: i with probability (its residual now) / (when it was proposed)."""
    core, proposed = core.copy(), core.diagonal().copy()
    accepted = []
    for i, u in enumerate(uniforms):
        if u * proposed[i] < core[i, i]:
            accepted.append(i)
            core -= np.outer(core[:, i], core[i] / core[i, i])
    return np.array(accepted, int)


@program
def cross(kernel, x, z):
    """k(x_i, z_j), (n, m)."""
    return cross_gram(kernel, x, z)


@program
def diagonal_of(kernel, x):
    """k(x_i, x_i), (n,)."""
    return jax.vmap(kernel.evaluate)(x, x)
