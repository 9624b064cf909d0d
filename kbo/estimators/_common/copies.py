"""Rows that are exact copies of others, which folds cannot keep apart."""

from __future__ import annotations

import warnings

import numpy as np

SHARE = 0.01  # of the rows; fewer copies change no estimate by much
DISTINCT = 0.5  # share of distinct values from which on a column tells rows apart


def warn_of_copies(X, y, weight, stacklevel):
    """Give a UserWarning if rows are copies of others, in all features and the target.

    Rows agree by chance where all columns have few values; so one column, or the target, must have
    values most of which are different among the rows that remain without copies.

    Parameters
    ----------
    X : ndarray (n, D)
    y : ndarray (n,) or (n, p)
    weight : ndarray (n,)
        Rows without weight are not looked at.
    """
    used = np.flatnonzero(weight > 0)
    codes = np.unique(np.asarray(y)[used], return_inverse=True, axis=0)[1]
    rows = np.column_stack([X[used], codes.reshape(-1)])
    distinct = np.unique(rows, axis=0)
    copies = len(rows) - len(distinct)
    if copies < max(2, SHARE * len(rows)):
        return
    values = max(len(np.unique(column)) for column in distinct.T)
    if values >= DISTINCT * len(distinct):
        warnings.warn(
            f"{copies} of {len(rows)} rows are exact copies of others, which then stand in the "
            "training and in the test part of a fold: criterion_ and cv_loss_ are too good, and "
            "the model follows the noise. Keep one of each (DataFrame.drop_duplicates), or give "
            "fit the groups= of rows that belong together",
            UserWarning, stacklevel=stacklevel + 1,
        )
