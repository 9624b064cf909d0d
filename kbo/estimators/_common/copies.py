"""Rows that are exact copies of others, which folds cannot keep apart."""

from __future__ import annotations

import numpy as np

from ...status import warn_explained

SHARE = 0.01  # of the rows; fewer copies change no estimate by much
DISTINCT = 0.9  # share of the distinct rows that a column with different values in each tells apart
REPEATS = 5  # rows to a value, from which on rows agree by chance


def warn_of_copies(X, y, weight, stacklevel):
    """Give a UserWarning if rows are copies of others, in all features and the target.

    Rows agree by chance where all columns have few values; so one column, or the target, must tell
    the distinct rows apart, and have more values than a fifth of the rows.

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
    distinct = rows[list({row.tobytes(): place for place, row in enumerate(rows)}.values())]
    copies = len(rows) - len(distinct)
    if copies < max(2, SHARE * len(rows)):
        return
    values = max(len(np.unique(column)) for column in distinct.T)
    if values >= max(DISTINCT * len(distinct), len(rows) / REPEATS):
        warn_explained(
            f"{copies} of {len(rows)} rows are exact copies of others, which then stand in the "
            "training and in the test part of a fold: criterion_ and cv_loss_ are too good, and "
            "the model follows the noise. Keep one of each (DataFrame.drop_duplicates), or give "
            "fit the groups= of rows that belong together",
            UserWarning, stacklevel=stacklevel + 1,
        )
