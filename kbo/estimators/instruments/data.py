"""What instrumental-variable estimators are given: checked, standardised, split in columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from .._common.validation import check_weights

SAME = 1e-4  # of a standard deviation: what rounding to single precision may change
RANK = 1e-10  # relative singular values below which columns count as dependent


class Standard(NamedTuple):
    """x ↦ (x − mean)/scale, of weighted samples; constant columns keep their unit."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, values, weight):
        """Mean and standard deviation of ``values`` (n,) or (n, d) under ``weight`` (n,)."""
        mean = np.average(values, axis=0, weights=weight)
        spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))
        return cls(mean, np.where(is_constant(spread, mean), 1.0, spread))

    @classmethod
    def together(cls, values, weight):
        """One scale for all columns: the root of their mean variance."""
        mean = np.average(values, axis=0, weights=weight)
        scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight).mean())
        return cls(mean, np.full(values.shape[1], scale or 1.0))

    def __call__(self, values):
        """Values in these units."""
        return (values - self.mean) / self.scale


def is_constant(spread, mean):
    """Whether a standard deviation is a rounding error of its mean."""
    return spread <= 1e-12 * np.maximum(np.abs(mean), np.finfo(float).tiny)


def check_iv_data(estimator, X, y, Z, sample_weight):
    """X (n, d), y (n,), Z (n, q) or None and weights (n,), as finite float64.

    Weights are relative to their mean over the samples that have any: their scale says nothing.

    Raises
    ------
    ValueError
        Naming the argument, where one is not finite or not of the right shape, or for one sample.
    """
    X, y = validate_data(
        estimator, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2
    )
    if Z is not None:
        # Not validate_data: that would take Z's names for the features of X.
        if np.ndim(Z) == 1:
            raise ValueError(
                f"Z has shape {np.shape(Z)}: it must be (n, q); reshape one instrument with "
                "Z.reshape(-1, 1)"
            )
        Z = check_array(Z, dtype=np.float64, input_name="Z", estimator=estimator)
        check_consistent_length(X, Z)
    weight = check_weights(sample_weight, X)
    return X, y.astype(np.float64), Z, weight / weight[weight > 0].mean()


def exogenous_columns(X, Z, weight):
    """Which columns of X are exogenous, (d,) bool: those in the span of Z's columns and a constant.

    Only samples with weight count. ``Z=None`` makes all of them so.

    Raises
    ------
    ValueError
        Where X has other columns and Z holds nothing that could explain them.
    """
    if Z is None:
        return np.ones(X.shape[1], bool)
    used = weight > 0
    X, Z = X[used], Z[used]
    exogenous = in_span(X, Z)
    if not exogenous.all() and in_span(Z, X[:, exogenous]).all():
        raise ValueError(
            "Z is constant, or holds nothing but columns of X: there is no first stage. Give an "
            "instrument that varies, or Z=None if all of X is exogenous"
        )
    return exogenous


def in_span(values, columns):
    """Which columns of values (n, d) are combinations of a constant and of columns (n, q), (d,).

    Up to SAME of a column's own standard deviation: copies in other units, in single precision, or
    with another reference category are found. Where there are as many independent columns as
    samples every vector is a combination; a copy of a single column is then asked for.
    """
    values, columns = (_centred(v) for v in (values, columns))
    moving = values.any(0)
    left, levels, _ = np.linalg.svd(columns[:, columns.any(0)], full_matrices=False)
    basis = left[:, levels > RANK * levels.max(initial=0.0)]
    if basis.shape[1] + 1 < len(values):
        missed = np.linalg.norm(values - basis @ (basis.T @ values), axis=0)
    else:
        alike = np.abs(columns.T @ values).max(0, initial=0.0)
        missed = np.sqrt(np.maximum(1.0 - alike**2, 0.0))
    return ~moving | (missed <= SAME)


def _centred(values):
    """Columns less their means, of norm one, or zero where that is a rounding error."""
    mean = values.mean(0)
    centred = values - mean
    norms = np.linalg.norm(centred, axis=0)
    constant = is_constant(norms / np.sqrt(len(values)), mean)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, norms))


def distinct_rows(values, weight):
    """Indices of the first of each distinct row that carries weight, in order."""
    used = np.flatnonzero(weight > 0)
    first = np.unique(values[used], axis=0, return_index=True)[1]
    return used[np.sort(first)]


def drawn(rows, count, random):
    """``count`` of ``rows``, drawn without replacement; all of them where there are no more."""
    if len(rows) <= count:
        return rows
    return np.sort(random.choice(rows, count, replace=False))
