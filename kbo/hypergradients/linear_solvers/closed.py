"""Closed formulas for v: exact, or from a rough approximation of H⁻¹."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from ...solvers import QuasiNewton
from .base import UNSOLVED, LinearSolver, Solved
from .iterative import CG


class Direct(LinearSolver):
    """v = H⁺b by an eigendecomposition of the dense H: a reference for small problems.

    N products give H; it takes O(F N³) time and O(F N²) memory. If H is singular, as for networks
    with redundant weights, v is the least-norm solution.
    """

    def solve(self, multiply, b, start, inverse=None):
        """H⁺b and its residual; ``start`` and ``inverse`` are not used."""
        N = b.shape[1]
        columns = jax.lax.map(
            lambda e: multiply(jnp.broadcast_to(e, b.shape)), jnp.eye(N, dtype=b.dtype)
        )
        H = columns.transpose(1, 2, 0)
        values, vectors = jnp.linalg.eigh(0.5 * (H + H.transpose(0, 2, 1)))
        sizes = jnp.abs(values)
        determined = sizes > N * jnp.finfo(b.dtype).eps * jnp.max(sizes, 1, keepdims=True)
        inverses = jnp.where(determined, 1 / jnp.where(determined, values, 1), 0)
        v = jnp.einsum("fij,fj,fkj,fk->fi", vectors, inverses, vectors, b)
        residual = b - multiply(v)
        norms = jnp.linalg.norm(residual, axis=1), jnp.linalg.norm(b, axis=1)
        broken = jnp.any(norms[0] > UNSOLVED * norms[1])
        negative = jnp.min(values, 1) < -UNSOLVED * jnp.max(sizes, 1)
        return Solved(v, residual, N + 1, broken | jnp.any(negative))


class NystromInverse(LinearSolver):
    """v = (H_S H_SS⁻¹ H_Sᵀ + ρI)⁻¹b for ``rank`` random coordinates S, by Woodbury's formula.

    It takes ``rank`` products, and one for the residual. There is no iteration that could diverge.

    Parameters
    ----------
    rank : int
        Number of coordinates, at most N.
    damping : float
        ρ, which should be below the eigenvalues of H that matter. If ``rank`` = N, then
        v = (H + ρI)⁻¹b.
    seed : int

    References
    ----------
    Hataya, Yamada (2023), Nyström Method for Accurate and Scalable Implicit Differentiation,
    eq. (6).
    """

    rank: int = eqx.field(static=True, default=10)
    damping: float = 1e-2
    seed: int = 0

    remedy = "raise rank and lower damping of linear_solver=NystromInverse(rank, damping)"

    def solve(self, multiply, b, start, inverse=None):
        """v by Woodbury's formula, and its residual; ``start`` and ``inverse`` are not used."""
        N = b.shape[1]
        drawn = jax.random.permutation(jax.random.key(self.seed), N)[: min(self.rank, N)]
        unit = jnp.zeros((len(drawn), N), b.dtype).at[jnp.arange(len(drawn)), drawn].set(1)
        of = lambda e: multiply(jnp.broadcast_to(e, b.shape))  # noqa: E731
        columns = jax.lax.map(of, unit).transpose(1, 2, 0)
        block = columns[:, drawn]
        inside = 0.5 * (block + block.transpose(0, 2, 1))
        inside = inside + columns.transpose(0, 2, 1) @ columns / self.damping
        right = jnp.einsum("fns,fn->fs", columns, b)
        # Singular if the columns are dependent: the least-norm solution is Woodbury's limit.
        weights = jnp.einsum("fst,ft->fs", jnp.linalg.pinv(inside, hermitian=True), right)
        v = b / self.damping - jnp.einsum("fns,fs->fn", columns, weights) / self.damping**2
        return Solved(v, b - multiply(v), len(drawn) + 1)


class Shine(LinearSolver):
    """v = B⁻¹b with the estimate B⁻¹ ≈ H⁻¹ that the inner solver has made, without any product.

    Needs solver=kbo.solvers.QuasiNewton(), whose ``prescribe`` makes B⁻¹ accurate along b itself.
    Without refinement the residual, which would cost a product, is not known (infinite).

    Parameters
    ----------
    refine : int
        Steps of CG that start from B⁻¹b and are preconditioned by B⁻¹, on all replicates as one
        system.

    References
    ----------
    Ramzi et al. (2022), SHINE: SHaring the INverse Estimate from the forward pass for bi-level
    optimization and implicit models, Section 2.
    """

    refine: int = eqx.field(static=True, default=0)

    solvers = (QuasiNewton,)
    remedy = "raise refine of linear_solver=Shine(refine)"

    def __check_init__(self):
        if self.refine < 0:
            raise ValueError(f"refine={self.refine!r} must not be negative")

    def solve(self, multiply, b, start, inverse=None):
        """B⁻¹b, refined if asked for, where ``inverse`` is B⁻¹; ``start`` is not used."""
        v = inverse(b)
        if not self.refine:
            return Solved(v, jnp.full_like(b, jnp.inf), 0)
        as_one = lambda function: lambda u: function(u.reshape(b.shape)).reshape(1, -1)  # noqa: E731
        found = CG(self.refine).preconditioned(
            as_one(multiply), b.reshape(1, -1), v.reshape(1, -1), as_one(inverse)
        )
        return found._replace(v=found.v.reshape(b.shape), residual=found.residual.reshape(b.shape))


class Identity(LinearSolver):
    """v = s·b, without any product: the Jacobian-free hypergradient.

    It is accurate if H is close to I/s. Its residual, which would cost a product, is not known
    (infinite).

    Parameters
    ----------
    scale : float
        s.

    References
    ----------
    Fung et al. (2022), JFB: Jacobian-Free Backpropagation for Implicit Networks, eq. (11).
    """

    scale: float = 1.0

    def solve(self, multiply, b, start, inverse=None):
        """s·b; ``multiply``, ``start`` and ``inverse`` are not used."""
        return Solved(self.scale * b, jnp.full_like(b, jnp.inf), 0)
