"""What instrumental-variable estimators are given: checked, standardised, split in columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from ._validation import check_weights


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
    return X, y.astype(np.float64), Z, check_weights(sample_weight, X)


def exogenous_columns(X, Z, weight):
    """Which columns of X are exogenous, (d,) bool: those that Z repeats, and constants.

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
    exogenous = np.array([
        (column == column[0]).all() or (column[:, None] == Z).all(0).any() for column in X.T
    ])
    if exogenous.all():
        return exogenous
    known = X[:, exogenous]
    excluded = [
        column for column in Z.T
        if not (column == column[0]).all() and not (known == column[:, None]).all(0).any()
    ]
    if not excluded:
        raise ValueError(
            "Z is constant, or holds nothing but columns of X: there is no first stage. Give an "
            "instrument that varies, or Z=None if all of X is exogenous"
        )
    return exogenous


def repeated_columns(Z, known):
    """Indices of the columns of Z (n, q) that ``known`` (n, k) has too."""
    return np.flatnonzero([(known == column[:, None]).all(0).any() for column in Z.T])


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
