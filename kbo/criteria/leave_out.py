"""Leave-one-out and K-fold cross-validation from one factorisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from ..hypergradients.implicit import outer_and_slopes
from .base import Derivative, GramCriterion, polarised

SMALL_BLOCK = 32  # blocks up to this side are solved together


class LeaveOut(GramCriterion):
    """L = (1/Σv) Σ_j v_j ℓ_out(ω, h_{−T}(x_j), t_j), where h_{−T} is fitted without the fold T ∋ j.

    With A = αI + SKS and u = A⁻¹S t, all folds come from one factorisation::

        h_{−T}(x_T) = t_T − S_T⁻¹ (A⁻¹)_TT⁻¹ u_T.

    α = ridge·Σw is the same with and without a fold, as in scikit-learn's KernelRidge.

    Parameters
    ----------
    folds : None, array (n,) or (R, n) of int
        The fold that leaves each point out, or a negative number for a point that is always kept;
        one row for each repetition. None leaves out one point at a time. The outer data must have
        the inner points, with weights (n,), or (R, n) with one row for each repetition; points that
        are never left out must have weight zero.

    References
    ----------
    Golub, Heath, Wahba (1979), Generalized Cross-Validation, eq. (1.3), for one point. Blocks
    follow by partitioning A⁻¹ and eliminating the fold.

    Examples
    --------
    The ridge that leaving out one point at a time chooses for a noisy sine:

    >>> import jax
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> jax.config.update("jax_enable_x64", True)
    >>> x = jnp.linspace(0.0, 6.0, 30)
    >>> y = jnp.sin(x) + 0.3 * jax.random.normal(jax.random.key(0), (30,))
    >>> sample = kbo.Sample(x, y)
    >>> problem = kbo.BilevelProblem(kbo.losses.Squared(), kbo.losses.Squared(), sample, sample,
    ...     kbo.RKHS(kbo.kernels.Gaussian()), ridge=jnp.exp)
    >>> result = kbo.minimize(problem, jnp.array(-3.0), method=kbo.criteria.LeaveOut())
    >>> print(result.omega.round(2))
    -4.11
    """

    folds: Any = None

    def _value(self, regression, instance):
        folds = self._labels(instance, regression.support)
        k, p = regression.targets.shape
        shape = len(folds), instance.inner.size, p
        values, parts = np.zeros(shape), []
        for labels, out in zip(folds, values, strict=True):
            blocks = _Blocks(regression.inverse, labels)
            left = blocks.solve(regression.dual)
            out[regression.support] = regression.targets - left / regression.root[:, None]
            parts.append((blocks, left))
        value, slopes = outer_and_slopes(instance, values)

        def derive():
            slopes_ = np.asarray(slopes, float)[:, regression.support]
            rows, total = [], np.zeros((k, p))
            for (blocks, left), slope in zip(parts, slopes_, strict=True):
                q = blocks.solve(slope / regression.root[:, None])
                rows.append(blocks.polarised(q, left))
                total += q
            inverse = regression.whole_inverse
            # Each fold subtracts sym((A⁻¹q)(A⁻¹left)ᵀ); together they add sym((A⁻¹q) uᵀ).
            sides = [scipy.sparse.vstack(side) @ inverse for side in zip(*rows, strict=True)]
            plus, minus = polarised(inverse @ total, regression.dual)
            return Derivative(
                np.vstack([sides[1], plus]), np.vstack([sides[0], minus]), values=values
            )

        return float(value), derive

    def _labels(self, instance, support):
        """Fold numbers (R, k) of the points of positive weight."""
        n, outer = instance.inner.size, instance.outer
        if callable(instance.problem.outer_data) or not instance.shared:
            raise ValueError("LeaveOut judges the inner points: outer_data must have the same x")
        folds = np.arange(n)[None] if self.folds is None else np.atleast_2d(self.folds)
        if folds.dtype.kind not in "iu" or folds.ndim != 2 or folds.shape[1] != n:
            raise ValueError(f"folds must be integers of shape ({n},) or (R, {n})")
        judged = np.asarray(outer.weight_matrix()) > 0
        kept = folds < 0
        kept[:, np.setdiff1d(np.arange(n), support)] = True
        if (judged & kept).any():
            raise ValueError(
                "outer_data gives weight to points that no fold leaves out, or that have no inner "
                "weight: give them none"
            )
        return folds[:, support]


class _Blocks:
    """The diagonal blocks of A⁻¹ that belong to the folds, grouped by size.

    Parameters
    ----------
    lower : ndarray (k, k)
        The lower triangle of A⁻¹.
    labels : ndarray (k,) of int
        The fold of each point, negative for points in none.
    """

    def __init__(self, lower, labels):
        order = np.argsort(labels, kind="stable")
        order = order[np.searchsorted(labels[order], 0) :]
        _, starts = np.unique(labels[order], return_index=True)
        members = np.split(order, starts[1:]) if len(order) else []
        sizes = np.array([len(m) for m in members])
        self._groups = []
        for size in np.unique(sizes):
            rows = np.array([m for m in members if len(m) == size])
            if size > SMALL_BLOCK:
                self._groups += [(row[None], self._solver(lower, row)) for row in rows]
            else:
                self._groups.append((rows, self._small(lower, rows)))

    @staticmethod
    def _solver(lower, row):
        start, stop = row[0], row[-1] + 1
        if stop - start == len(row):
            block = lower[start:stop, start:stop]
        else:
            block = lower[np.ix_(row, row)]
        factor = scipy.linalg.cho_factor(block, lower=True, check_finite=False)
        return lambda rhs: scipy.linalg.cho_solve(factor, rhs[0], check_finite=False)[None]

    @staticmethod
    def _small(lower, rows):
        blocks = np.tril(lower[rows[:, :, None], rows[:, None, :]])
        if rows.shape[1] == 1:
            return lambda rhs: rhs / blocks
        blocks = blocks + np.tril(blocks, -1).swapaxes(1, 2)
        return lambda rhs: np.linalg.solve(blocks, rhs)

    def solve(self, rhs):
        """(A⁻¹)_TT⁻¹ rhs_T for every fold; zero for points in none."""
        out = np.zeros_like(rhs)
        for rows, solve in self._groups:
            out[rows] = solve(rhs[rows])
        return out

    def polarised(self, left, right):
        """Sparse rows P, M with PᵀP − MᵀM = Σ_T Σ_p sym(left_{T,p} right_{T,p}ᵀ)."""
        sides = [], []
        for rows, _ in self._groups:
            t, p = rows.shape[1], left.shape[1]
            a, b = left[rows], right[rows]
            if t <= 2 * p:  # a t×t block has at most t eigenvectors, its polarised form 2p rows
                middle = np.einsum("gip,gjp->gij", a, b)
                values, vectors = np.linalg.eigh(0.5 * (middle + middle.swapaxes(1, 2)))
                scaled = (vectors * np.sqrt(np.abs(values))[:, None, :]).swapaxes(1, 2)
                positive = values > 0
                pieces = [(scaled, positive), (scaled, values < 0)]
            else:
                balanced = [polarised(x, y) for x, y in zip(a, b, strict=True)]
                all_rows = np.ones((len(rows), p), bool)
                pieces = [(np.stack(side), all_rows) for side in zip(*balanced, strict=True)]
            for side, (vectors, chosen) in zip(sides, pieces, strict=True):
                group, column = np.nonzero(chosen)
                side.append((vectors[group, column], rows[group]))
        return [_sparse(side, len(left)) for side in sides]


def _sparse(pieces, k):
    """One sparse matrix of rows with t non-zeros, from pieces (values (r, t), columns (r, t))."""
    values = np.concatenate([v.ravel() for v, _ in pieces])
    columns = np.concatenate([c.ravel() for _, c in pieces])
    lengths = np.concatenate([np.full(len(v), v.shape[1]) for v, _ in pieces])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return scipy.sparse.csr_array((values, columns, ends), shape=(len(lengths), k))
