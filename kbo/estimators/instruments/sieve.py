"""The columns that a scikit-learn transformer makes of some values, and their slopes."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone

STEP = 1e-5  # step of the central differences, in standard deviations of the column


def fitted(basis, values):
    """A copy of the transformer, fitted; None stays None."""
    return None if basis is None else clone(basis).fit(values)


def expand(basis, values):
    """The columns (n, p) that a fitted basis makes of the values; the values if it is None."""
    if basis is None:
        return values
    expanded = basis.transform(values)
    return np.asarray(expanded.toarray() if hasattr(expanded, "toarray") else expanded, float)


def mean_slopes(basis, X, coef):
    """(1/k) Σ_i ∂(Φ(x)·coef)/∂x at the rows of X (k, d), (d,): by central differences."""
    out = np.empty(X.shape[1])
    for j, spread in enumerate(X.std(0)):
        shift = np.zeros(X.shape[1])
        shift[j] = STEP * (spread if spread > 0 else max(abs(X[0, j]), 1.0))
        ends = [expand(basis, X + sign * shift) for sign in (1, -1)]
        out[j] = np.mean((ends[0] - ends[1]) @ coef) / (2 * shift[j])
    return out
