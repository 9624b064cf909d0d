"""Values of Σ_m θ_m k(c_m, ·) at any number of rows, with few compilations."""

from __future__ import annotations

import numpy as np

from ...arithmetic import arrays
from ...function import evaluate_at
from ...linalg import cross_gram
from ...programs import program
from .folds import bucket, pad
from .validation import computing

ROWS = 512


@program
def _matrix(kernel, X, Z):
    return cross_gram(kernel, X, Z)


def matrix_at(kernel, X, Z):
    """k(x_i, z_j), (k, n), in float64, for points X (k, d) and Z (n, d)."""
    kernel, n = arrays(kernel, np.float64), len(Z)
    Z, out = pad(Z, bucket(n)), np.empty((len(X), n))
    for start in range(0, len(X), ROWS):
        rows = X[start : start + ROWS]
        height = min(bucket(len(rows)), ROWS)
        out[start : start + ROWS] = _matrix(kernel, pad(rows, height), Z)[: len(rows), :n]
    return out


def values_at(kernel, anchors, coefficients, X, device):
    """k(X, anchors) @ coefficients, (k, p), for coefficients (N, p) and X (k, d), in float64."""
    size = bucket(len(anchors))
    coefficients = np.pad(coefficients, ((0, size - len(coefficients)), (0, 0)))
    anchors = pad(anchors, size)
    out = []
    with computing(device):
        kernel = arrays(kernel, np.float64)
        for start in range(0, len(X), ROWS):
            rows = X[start : start + ROWS]
            height = min(bucket(len(rows)), ROWS)
            values = evaluate_at(kernel, anchors, pad(rows, height), coefficients)
            out.append(np.array(values[: len(rows)]))
    return np.concatenate(out)
