"""Formulas for v: exact, from a few columns of H, from the inner solver's estimate, or none."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from .base import UNSOLVED, LinearSolver, Solved
from .iterative import CG


class Direct(LinearSolver):
    """v = H⁺b, from the eigenvalues of a dense H: the oracle, for small problems.

    N products make H; O(F N³) time, O(F N²) memory. The least-norm solution where H is singular,
    as it is for networks with redundant weights.
    """

    def solve(self, multiply, b, start, inverse=None):
        """See LinearSolver; the start is not used."""
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
    """v = (H_S H_SS⁻¹ H_Sᵀ + ρI)⁻¹b, S ``rank`` coordinates drawn at random: Woodbury's formula.

    ``rank`` products, whatever b; no iteration that could diverge.

    Parameters
    ----------
    rank : int
        Coordinates, at most N.
    damping : float
        ρ, below the eigenvalues of H that matter: with ``rank`` = N it is v = (H + ρI)⁻¹b.
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
        """See LinearSolver; the start is not used."""
        N = b.shape[1]
        drawn = jax.random.permutation(jax.random.key(self.seed), N)[: min(self.rank, N)]
        unit = jnp.zeros((len(drawn), N), b.dtype).at[jnp.arange(len(drawn)), drawn].set(1)
        of = lambda e: multiply(jnp.broadcast_to(e, b.shape))  # noqa: E731
        columns = jax.lax.map(of, unit).transpose(1, 2, 0)
        block = columns[:, drawn]
        inside = 0.5 * (block + block.transpose(0, 2, 1))
        inside = inside + columns.transpose(0, 2, 1) @ columns / self.damping
        right = jnp.einsum("fns,fn->fs", columns, b)
        # Singular where columns are: the least-norm solution is what Woodbury's limit is.
        weights = jnp.einsum("fst,ft->fs", jnp.linalg.pinv(inside, hermitian=True), right)
        v = b / self.damping - jnp.einsum("fns,fs->fn", columns, weights) / self.damping**2
        return Solved(v, b - multiply(v), len(drawn) + 1)


class Shine(LinearSolver):
    """v = B⁻¹b, B⁻¹ the estimate of H⁻¹ that the inner solver has made: no product at all.

    Needs solver=kbo.solvers.QuasiNewton(), which with ``prescribe`` makes B⁻¹ good along b itself.
    Without refinement the residual would cost a product, and is not known (infinite).

    Parameters
    ----------
    refine : int
        Steps of CG from there, preconditioned by B⁻¹; all replicates are one system.

    References
    ----------
    Ramzi et al. (2022), SHINE: SHaring the INverse Estimate from the forward pass for bi-level
    optimization and implicit models, Section 2.
    """

    refine: int = eqx.field(static=True, default=0)

    needs_inverse = True
    remedy = "raise refine of linear_solver=Shine(refine)"

    def __check_init__(self):
        if self.refine < 0:
            raise ValueError(f"refine={self.refine!r} must not be negative")

    def solve(self, multiply, b, start, inverse=None):
        """See LinearSolver; the start is not used."""
        v = inverse(b)
        if not self.refine:
            return Solved(v, jnp.full_like(b, jnp.inf), 0)
        as_one = lambda function: lambda u: function(u.reshape(b.shape)).reshape(1, -1)  # noqa: E731
        found = CG(self.refine).preconditioned(
            as_one(multiply), b.reshape(1, -1), v.reshape(1, -1), as_one(inverse)
        )
        return found._replace(v=found.v.reshape(b.shape), residual=found.residual.reshape(b.shape))


class Identity(LinearSolver):
    """v = s·b, no product at all: the Jacobian-free hypergradient.

    As good as H is close to I/s. Its residual would cost the product that it saves, so that it is
    not known (infinite).

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
        """See LinearSolver; the start is not used."""
        return Solved(self.scale * b, jnp.full_like(b, jnp.inf), 0)
