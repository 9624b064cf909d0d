"""The full kernel system without a factorisation: conjugate gradients on products with K."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from ..linalg import Cholesky, conjugate_gradients, diagonal_of, product, rp_cholesky
from ..needs import Needs
from ..spaces import RKHS
from ..spaces.base import replicates_first, replicates_last
from ._newton.newton import NewtonSolver
from ._newton.representer import RepresenterSystem
from ._newton.rows import STORED, Rows
from ._newton.systems import PATIENCE
from ._newton.weighted_ridge import Root, decouple


class FullCG(NewtonSolver):
    """The same h_ω as Exact, matrix-free, for some tens of thousands of points.

    (αI + SKS)v = r, S² = C = w ∂²ℓ, by conjugate gradients with the preconditioner αI + S F Fᵀ S,
    F Fᵀ ≈ K a randomly pivoted Cholesky factor of rank r. O(n²) kernel evaluations or memory
    accesses a step, O(n r²) for the preconditioner; all replicates and outputs at once.

    Parameters
    ----------
    rank : int
        r, at most n.
    memory : float
        Bytes that K may take; where it needs more its blocks are evaluated again for each product.
    max_newton, tol
        See Exact.
    max_cg : int
        Conjugate gradient steps a solve.
    seed : int
        Of the pivots.

    References
    ----------
    Díaz, Epperly, Frangella, Tropp, Webber (2023), Robust, randomized preconditioning for kernel
    ridge regression, §2.2.
    """

    double: ClassVar[bool] = True
    rank: int = 500
    memory: float = STORED
    max_newton: int = 100
    tol: float = 1e-8
    max_cg: int = 1000
    seed: int = 0

    needs = Needs(spaces=(RKHS,), remedy="use solver=kbo.solvers.Exact() or Gradient()")
    remedy = "raise max_cg, or the rank of the preconditioner, of solver=kbo.solvers.FullCG(…)"

    def system(self, instance, workspace):
        """Its systems are of the size of the sample, known by products only."""
        return FullSystem(instance, workspace, self)


class FullSystem(RepresenterSystem):
    """Products with K by blocks of rows."""

    jointly: ClassVar[bool] = True

    def __init__(self, instance, workspace, options):
        super().__init__(instance)
        self._shared, self._options = instance.shared, options
        n, m = instance.inner.size, instance.outer.size
        self.size = n
        kernel, x = instance.space.kernel, instance.inner.x
        self.diagonal = np.array(diagonal_of(kernel, x), float)
        self._rows = Rows(instance, True, (n, n), options.memory, workspace.gram)
        workspace.gram = self._rows.stored
        self._outer = None if self._shared else Rows(instance, False, (m, n), 0)
        rng = np.random.default_rng(options.seed)
        _, self._low_rank = rp_cholesky(kernel, x, min(options.rank, n), rng)

    @property
    def direct(self):
        """Never: what rounding leaves is seen only in the true residual."""
        return False

    def _each(self, function, coefficients):
        columns = np.asfortranarray(replicates_last(coefficients))
        return replicates_first(function(columns), len(coefficients))

    def values(self, coefficients):
        return self._each(self._rows.times, coefficients)

    def outer_values(self, coefficients, inner_values):
        return inner_values if self._shared else self._each(self._outer.times, coefficients)

    def _outer_embedding(self, slopes):
        rows = self._rows if self._shared else self._outer
        return self._each(rows.transposed_times, slopes)

    def _prepare(self, replicates, curvatures, probabilities):
        self._roots = [Root(decouple(C)) for C in curvatures]
        self._inverses = [LowRankRidge(self._low_rank, C, a) for C, a in
                          zip(curvatures, self.alpha, strict=True)]

    def _symmetric_solve(self, rhs, chosen):
        """(αI + SKS)⁻¹ rhs for (k, n, p) and the replicates they belong to."""
        scale = lambda v, k: np.stack(  # noqa: E731
            [self._roots[f].times(r) for f, r in zip(chosen[k], v, strict=True)]
        )
        solution, _, _, self.cut_short = conjugate_gradients(
            lambda v, k: self.alpha[chosen[k], None, None] * v
            + scale(self.values(scale(v, k)), k),
            lambda r, k: np.stack(
                [self._inverses[f].solve(b) for f, b in zip(chosen[k], r, strict=True)]
            ),
            rhs, self._options.tol, self._options.max_cg, PATIENCE,
        )
        return solution

    def solve(self, rhs, replicates=None, target=None):
        """Solve the ridge systems, by Woodbury's formula where S is not invertible."""
        chosen = np.arange(len(rhs)) if replicates is None else np.asarray(replicates)
        roots = [self._roots[f] for f in chosen]
        each = lambda apply, v: np.stack(  # noqa: E731
            [apply(root, r) for root, r in zip(roots, v, strict=True)]
        )
        times, divide = (lambda root, v: root.times(v)), (lambda root, v: root.divide(v))
        scaled = each(divide, rhs[chosen])
        beta = each(times, self._symmetric_solve(scaled, chosen))
        rest = rhs[chosen] - each(times, scaled)
        if not all(root.full_rank for root in roots) and rest.any():
            through = self._symmetric_solve(each(times, self.values(rest)), chosen)
            beta += (rest - each(times, through)) / self.alpha[chosen, None, None]
        out = np.zeros_like(rhs)
        out[chosen] = beta
        return out


class LowRankRidge:
    """(αI + G Gᵀ)⁻¹ for each output, G = diag(C_aa)^½ F, by Woodbury's formula.

    Parameters
    ----------
    factor : ndarray (n, r)
        F.
    curvatures : ndarray (n, p, p)
    alpha : float
    """

    def __init__(self, factor, curvatures, alpha):
        self._factor, self._alpha = factor, alpha
        diagonal = np.sqrt(np.maximum(np.diagonal(curvatures, axis1=1, axis2=2), 0.0))
        self._roots = diagonal[:, :1] if (diagonal == diagonal[:, :1]).all() else diagonal
        self._cores = []
        for root in self._roots.T:
            G = np.asfortranarray(factor * root[:, None])
            core = product(G.T, G)
            core.flat[:: len(core) + 1] += alpha
            self._cores.append(Cholesky(partial(np.array, core, order="C")))

    def solve(self, rhs):
        """For (n, p) rhs."""
        out = np.empty_like(rhs)
        for a in range(rhs.shape[1]):
            c = min(a, len(self._cores) - 1)
            root, column = self._roots[:, c], rhs[:, a : a + 1]
            small = self._cores[c].solve(product(self._factor.T, root[:, None] * column))
            out[:, a : a + 1] = column - root[:, None] * product(self._factor, small)
        return out / self._alpha
