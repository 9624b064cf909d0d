"""Linear algebra of two-stage least squares: projection, instrument strength, ridge readout."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from .data import RANK, SAME


class Projection(NamedTuple):
    """Weighted least squares on some columns, by an orthonormal basis Q of √w times their span.

    Attributes
    ----------
    basis : ndarray (n, rank)
        Q.
    root : ndarray (n,)
        √w.
    """

    basis: np.ndarray
    root: np.ndarray

    @classmethod
    def on(cls, features, root):
        """The projection onto the span of features (n, q), with root = √w (n,)."""
        U, levels, _ = np.linalg.svd(scaled_rows(features, root), full_matrices=False)
        return cls(U[:, levels > RANK * levels.max()], root)

    @property
    def rank(self):
        """The dimension of the span."""
        return self.basis.shape[1]

    def coordinates(self, values):
        """c (rank, k) such that Qc is √w times the fitted values, for values (n, k)."""
        return self.basis.T @ (self.root[:, None] * values)


def least_explained(columns, projection):
    """Strength of the instruments for the combination of columns that they explain least.

        F = ρ²/(1 − ρ²) · (n − r)/k

    Combinations whose canonical correlation with the instruments is one, such as the constant, are
    exogenous and are partialled out. ρ is the smallest of the other canonical correlations, r the
    rank of the instruments, and k the part of that rank beyond the exogenous combinations. For one
    endogenous column F is the partial F of the excluded instruments; for several it is the
    statistic of Cragg and Donald, the smallest eigenvalue of Σ^{-1/2} XᵀPX Σ^{-1/2}/k with
    Σ = XᵀMX/(n − r), where exogenous combinations are partialled out of X.

    Parameters
    ----------
    columns : ndarray (n, p)
        Including a constant, at the n samples of positive weight.
    projection : Projection
        Onto the span of the instruments.

    Returns
    -------
    F, ρ² : float
        Infinity and 1 if all combinations are exogenous; zeros if no instrument is left to explain
        the others, or if there are as many independent instruments as samples.
    """
    free = len(columns) - projection.rank
    if free <= 0:
        return 0.0, 0.0
    own = Projection.on(columns, projection.root).basis
    errors = own - projection.basis @ (projection.basis.T @ own)
    unexplained = np.linalg.eigvalsh(errors.T @ errors)
    endogenous = unexplained > SAME**2
    if not endogenous.any():
        return np.inf, 1.0
    excluded = projection.rank - np.sum(~endogenous)
    if excluded <= 0:
        return 0.0, 0.0
    worst = min(unexplained[-1], 1.0)
    return float((1.0 - worst) / worst * free / excluded), float(1.0 - worst)


def scaled_rows(features, root):
    """√w times the features, with columns scaled to norm 1."""
    columns = root[:, None] * features
    norms = np.linalg.norm(columns, axis=0)
    return columns / np.where(norms > 0, norms, 1.0)


def rank(matrix):
    """The numerical rank: the number of linearly independent columns."""
    levels = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(levels > RANK * levels.max()))


def ridge_readout(inside, alpha):
    """(BᵀB + alpha·I)⁻¹Bᵀ, (p, rank), for coordinates B (rank, p) of columns; B⁺ if alpha is 0.

    The first column, the constant, is not penalised.

    Raises
    ------
    ValueError
        If alpha is so small that it is lost in rounding and the matrix is singular.
    """
    if alpha == 0:
        return np.linalg.pinv(inside, rcond=RANK)
    gram = inside.T @ inside
    penalised = np.arange(1, len(gram))
    gram[penalised, penalised] += alpha
    try:
        return scipy.linalg.solve(gram, inside.T, assume_a="pos")
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"alpha={alpha} is lost in rounding beside ΦᵀWPΦ: raise it, or give 0"
        ) from error
