"""How the rows of a table hang together, which decides how they may be divided.

Each kind has a method ``split`` into training and test rows, ``part`` (the same for some rows),
the ``folds`` and the ``options`` of ``fit`` for an estimator, and ``divisions`` for a nested
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
FEWEST = 3  # groups


class InOrder(TimeSeriesSplit):
    """Folds in time: ``groups`` are the times, and rows of one time are in one part."""

    def split(self, X, y=None, groups=None):
        """Pairs (training places, test places)."""
        times = np.arange(len(X)) if groups is None else np.asarray(groups)
        moments, moment = np.unique(times, return_inverse=True)
        for train, test in super().split(moments):
            yield np.flatnonzero(np.isin(moment, train)), np.flatnonzero(np.isin(moment, test))


class Independent:
    """Rows in any order."""

    repeats = True
    words = "at random"
    options: dict = {}  # noqa: RUF012

    def folds(self, count):
        """The ``cv`` of an estimator, of ``count`` folds or as many as it likes."""
        return count

    def split(self, y, test_size, seed, classification):
        """(places of training rows, places of test rows, note or None)."""
        return tabular.split(y, test_size, seed, classification)

    def part(self, places):
        """The same for some rows."""
        return self

    def usable(self, y, seed, classes):
        """The divisions whose training parts can be tuned on."""
        return [
            (train, test) for train, test in self.divisions(y, seed, classes)
            if self.part(train).enough() and (not classes or len(np.unique(y[train])) > 1)
        ]

    def enough(self):
        """Whether these rows can be divided into folds."""
        return True

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
        self.groups, self.words = groups, f"in {len(set(groups))} groups"
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

    def enough(self):
        return len(set(self.groups)) > 1

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
    words = "in the order of time"

    def __init__(self, times):
        self.times = times
        self.options = {"groups": np.unique(times, return_inverse=True)[1]}

    def folds(self, count):
        return InOrder(count or SPLITS)

    def split(self, y, test_size, seed, classification):
        """The last rows are for testing; rows of one time are on one side."""
        order = np.argsort(self.times, kind="stable")
        sorted_times = self.times[order]
        ends = np.flatnonzero(sorted_times[1:] != sorted_times[:-1]) + 1  # where a time begins
        wanted = len(y) - int(np.ceil(test_size * len(y)))
        count = ends[np.abs(ends - wanted).argmin()]
        return order[:count], order[count:], "the last rows in time are held out for testing"

    def part(self, places):
        return InTime(self.times[places])

    def enough(self):
        return len(np.unique(self.times)) > SPLITS + 1

    def divisions(self, y, seed, classes):
        """Each test part follows its training part."""
        return InOrder(SPLITS).split(y, y, self.times)


def rows_of(args, X):
    """(how the rows of a table X hang together, the column that says so or None).

    Raises
    ------
    ValueError
        For both of ``--group`` and ``--time``, a column that does not exist, is the target or has
        missing cells, too few groups or times, and a time that is neither a date nor a number.
    """
    if args.group is None and args.time is None:
        return Independent(), None
    if args.group is not None and args.time is not None:
        raise ValueError("give --group or --time, not both")
    option, name = ("group", args.group) if args.time is None else ("time", args.time)
    if name == args.target:
        raise ValueError(f"--{option} {name} is the target: another column divides the rows")
    if name not in X.columns:
        raise ValueError(f"--{option} {name}: no such column; the table has {list(X.columns)}")
    column = X[name]
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise ValueError(f"--{option} {name} is missing in row {missing[0] + 1}: drop such rows")
    if option == "group":
        if column.nunique() < FEWEST:
            raise ValueError(
                f"--group {name} has {column.nunique()} values: at least {FEWEST} groups are "
                "needed, to test on one and to hold out another"
            )
        return InGroups(column.astype(object).to_numpy()), name
    if not (pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_numeric_dtype(column)):
        raise ValueError(f"--time {name} holds text: dates or numbers are needed")
    rows = InTime(column.to_numpy())
    if len(np.unique(rows.times)) <= 2 * SPLITS:
        raise ValueError(f"--time {name} has fewer than {2 * SPLITS + 1} different times")
    return rows, name
