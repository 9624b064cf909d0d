"""Least squares on the columns of the first stage, and the second stage in their coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

RANK = 1e-10  # relative singular values below which columns count as dependent


class Projection(NamedTuple):
    """Weighted least squares on columns Q that are orthonormal under √w, and its rank."""

    basis: np.ndarray
    root: np.ndarray

    @classmethod
    def on(cls, features, root):
        """Onto the span of features (n, q), with root = √w (n,)."""
        U, levels, _ = np.linalg.svd(scaled(features, root), full_matrices=False)
        return cls(U[:, levels > RANK * levels.max()], root)

    @property
    def rank(self):
        """Of the features."""
        return self.basis.shape[1]

    def coordinates(self, values):
        """c (rank, k) with Qc = √w times the fitted values of values (n, k)."""
        return self.basis.T @ (self.root[:, None] * values)


def scaled(features, root):
    """√w times the features, each column with norm 1."""
    columns = root[:, None] * features
    norms = np.linalg.norm(columns, axis=0)
    return columns / np.where(norms > 0, norms, 1.0)


def rank(matrix):
    """The number of independent columns."""
    levels = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(levels > RANK * levels.max()))


def ridge_readout(inside, alpha):
    """(BᵀB + alpha·I)⁻¹Bᵀ, (p, rank), for coordinates B (rank, p) of columns; B⁺ without a ridge.

    The first column, the constant, is not penalised.

    Raises
    ------
    ValueError
        For an alpha that rounding swallows.
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
