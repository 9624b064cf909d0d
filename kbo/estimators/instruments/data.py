"""Input of instrumental-variable estimators: checks, standardisation, exogenous columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from ...status import warn_explained
from .._common.validation import check_weights

SAME = 1e-4  # differences of this many standard deviations may be rounding to single precision
RANK = 1e-10  # relative singular value below which columns count as linearly dependent


class Standard(NamedTuple):
    """x ↦ (x − mean)/scale, from weighted samples; constant columns have scale 1."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, values, weight):
        """Scale each column of ``values`` (n,) or (n, d) by its own deviation; weights (n,)."""
        mean = np.average(values, axis=0, weights=weight)
        spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))
        return cls(mean, np.where(is_constant(spread, mean), 1.0, spread))

    @classmethod
    def together(cls, values, weight):
        """Scale all columns by one number, the square root of their mean variance."""
        mean = np.average(values, axis=0, weights=weight)
        scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight).mean())
        return cls(mean, np.full(values.shape[1], scale or 1.0))

    def __call__(self, values):
        """The values, standardised."""
        return (values - self.mean) / self.scale


def is_constant(spread, mean):
    """Whether a standard deviation is zero up to rounding errors of the mean."""
    return spread <= 1e-12 * np.maximum(np.abs(mean), np.finfo(float).tiny)


def check_iv_data(estimator, X, y, Z, sample_weight):
    """X (n, d), y (n,), Z (n, q) or None and weights (n,), as finite float64.

    Weights are divided by their mean over the samples of positive weight, since their scale
    carries no information.

    Raises
    ------
    ValueError
        If an argument (which is named) is not finite or has the wrong shape, or if there are fewer
        than two samples.
    """
    X, y = validate_data(
        estimator, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2
    )
    if Z is not None:
        # Not validate_data: it would record Z's column names as those of X.
        if np.ndim(Z) == 1:
            raise ValueError(
                f"Z has shape {np.shape(Z)}: it must be (n, q); one instrument is "
                "Z.reshape(-1, 1), or frame[[\"name\"]]"
            )
        Z = check_array(Z, dtype=np.float64, input_name="Z", estimator=estimator)
        check_consistent_length(X, Z)
    weight = check_weights(sample_weight, X)
    return X, y.astype(np.float64), Z, weight / weight[weight > 0].mean()


def exogenous_columns(X, Z, weight):
    """Which columns of X are exogenous, (d,) bool: those in the span of Z's columns and a constant.

    Only samples of positive weight count. With ``Z=None`` all columns are exogenous.

    Warns
    -----
    UserWarning
        If there are instruments and no endogenous column.

    Raises
    ------
    ValueError
        If X has endogenous columns and Z contains nothing that could explain them.
    """
    if Z is None:
        return np.ones(X.shape[1], bool)
    used = weight > 0
    X, Z = X[used], Z[used]
    exogenous = in_span(X, Z)
    if exogenous.all():
        warn_explained(
            "every column of X is a combination of Z's columns: none is endogenous, and the fit is "
            "a regression that uses no instrument; leave the treatment out of Z, or give Z=None if "
            "this is meant", UserWarning, stacklevel=3,
        )
    elif in_span(Z, X[:, exogenous]).all():
        raise ValueError(
            "Z is constant, or holds nothing but columns of X: there is no first stage. Give an "
            "instrument that varies, or Z=None if all of X is exogenous"
        )
    return exogenous


def in_span(values, columns):
    """Which columns of values (n, d) are combinations of a constant and of columns (n, q), (d,).

    A column counts if what is left of it is at most SAME times its standard deviation, so that
    copies in other units, in single precision or with another reference category are found. If
    there are as many independent columns as samples, every vector is a combination; a column of
    ``values`` must then be a copy of a single column.
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
    """Columns centred and scaled to norm one; constant columns become zero."""
    mean = values.mean(0)
    centred = values - mean
    norms = np.linalg.norm(centred, axis=0)
    constant = is_constant(norms / np.sqrt(len(values)), mean)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, norms))


def distinct_rows(values, weight):
    """Indices, in order, of the first occurrence of each distinct row of positive weight."""
    used = np.flatnonzero(weight > 0)
    first = np.unique(values[used], axis=0, return_index=True)[1]
    return used[np.sort(first)]


def drawn(rows, count, random):
    """``count`` of ``rows``, drawn without replacement and sorted; all rows if there are fewer."""
    if len(rows) <= count:
        return rows
    return np.sort(random.choice(rows, count, replace=False))
