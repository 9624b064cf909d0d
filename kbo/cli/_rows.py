"""How the rows of a table hang together, which decides how they may be divided.

Each kind has a method ``split`` into training and test rows, ``part`` (the same for some rows),
the ``cv`` and the ``options`` of ``fit`` for an estimator, and ``divisions`` for a nested
cross-validation.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from .. import tabular

SPLITS = 5


class Independent:
    """Rows in any order."""

    cv = None
    repeats = True
    options: dict = {}  # noqa: RUF012

    def split(self, y, test_size, seed, classification):
        """(places of training rows, places of test rows, note or None)."""
        return tabular.split(y, test_size, seed, classification)

    def part(self, places):
        """The same for some rows."""
        return self

    def divisions(self, y, seed, classes):
        """Pairs (training places, test places) that test each row once."""
        most = np.unique(y, return_counts=True)[1].max() if classes else len(y)
        kind = StratifiedKFold if classes else KFold
        return kind(min(SPLITS, most), shuffle=True, random_state=seed).split(y, y)


class InGroups(Independent):
    """Rows of which some belong together, such as those of one person.

    Parameters
    ----------
    groups : ndarray (n,) of object
    """

    def __init__(self, groups):
        self.groups = groups
        self.options = {"groups": groups}

    def split(self, y, test_size, seed, classification):
        """No group has rows on both sides; classes are not stratified."""
        splitter = GroupShuffleSplit(1, test_size=test_size, random_state=seed)
        train, test = next(splitter.split(y, y, self.groups))
        lost = sorted(set(y[test]) - set(y[train])) if classification else []
        if lost:
            raise ValueError(
                f"--group: no training row has the class {lost[0]!r}: its groups were drawn for "
                "testing; another --seed draws others"
            )
        held = len(set(self.groups[test]))
        return train, test, f"{held} of {len(set(self.groups))} groups are held out for testing"

    def part(self, places):
        return InGroups(self.groups[places])

    def divisions(self, y, seed, classes):
        kind = StratifiedGroupKFold if classes else GroupKFold
        count = min(SPLITS, len(set(self.groups)))
        return kind(count, shuffle=True, random_state=seed).split(y, y, self.groups)


class InTime(Independent):
    """Rows in the order of time: later ones are predicted from earlier ones.

    Parameters
    ----------
    times : ndarray (n,)
    """

    repeats = False

    def __init__(self, times):
        self.times = times
        self.cv = TimeSeriesSplit(SPLITS)

    def split(self, y, test_size, seed, classification):
        """The last rows are for testing."""
        order = np.argsort(self.times, kind="stable")
        count = len(y) - int(np.ceil(test_size * len(y)))
        return order[:count], order[count:], "the last rows in time are held out for testing"

    def part(self, places):
        return InTime(self.times[places])

    def divisions(self, y, seed, classes):
        """Each test part follows its training part."""
        return TimeSeriesSplit(SPLITS).split(y)


def rows_of(args, X):
    """(how the rows of a table X hang together, the column that says so or None).

    Raises
    ------
    ValueError
        For both of ``--group`` and ``--time``, a column that does not exist or has missing cells,
        fewer than two groups, and a time that is neither a date nor a number.
    """
    if args.group is None and args.time is None:
        return Independent(), None
    if args.group is not None and args.time is not None:
        raise ValueError("give --group or --time, not both")
    option, name = ("group", args.group) if args.time is None else ("time", args.time)
    if name not in X.columns:
        raise ValueError(f"--{option} {name}: no such column; the table has {list(X.columns)}")
    column = X[name]
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise ValueError(f"--{option} {name} is missing in row {missing[0] + 1}: drop such rows")
    if option == "group":
        if column.nunique() < 2:
            raise ValueError(f"--group {name} has one value only: no group can be held out")
        return InGroups(column.astype(object).to_numpy()), name
    if not (pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_numeric_dtype(column)):
        raise ValueError(f"--time {name} holds text: dates or numbers are needed")
    return InTime(column.to_numpy()), name
