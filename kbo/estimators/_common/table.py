"""The columns of a table as numbers, such that each column has one lengthscale, whatever its type.

A number is itself; where it is missing, it is the median, one spread away from every known number
(in columns that had gaps in ``fit``). A category has a coordinate for each level, so that all
levels are equally far apart; columns of dummies that stand for a category are treated as that
category is (a level without a column is nearer to the others, by 1/√2). A date is its number of
days since 1970.
"""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import check_X_y, validate_data

from ...status import warn_explained
from .dummies import dummies, spread_of_dummies
from .scale import Units, center_and_spread, has_curve
from .text import warn_of_text

FAR = 100.0  # spreads from the centre of a column beyond which distances grow as a logarithm
NANOSECONDS = 86400 * 10**9  # of a day
# Coordinates of a category, the last of which is shared by the rarest levels beyond: half as many
# as there are rows, because a level in one row teaches nothing of others, but within these ends.
LEVELS = 100, 1000


class Table:
    """The columns that ``fit`` has seen.

    Parameters
    ----------
    numbers : ndarray (n, q)
        With NaN where a cell is missing.
    categories : list of ndarray (n,) of object
        Levels as text, None where a cell is missing, which is a level too.
    categorical : ndarray (q + len(categories),) of bool
        Which columns of the table are the categories.
    weight : ndarray (n,)
        Cells of rows without weight are not looked at.

    Attributes
    ----------
    units : Units
        Of the coordinates.
    """

    def __init__(self, numbers, categories, categorical, weight):
        self.categorical, used = categorical, weight > 0
        missing = np.isnan(numbers)
        self._gaps = missing[used].any(0)
        self._medians = np.array([_median(column[used]) for column in numbers.T])
        center, spread = center_and_spread(np.where(missing, self._medians, numbers), weight)
        for place in np.flatnonzero(self._gaps):
            known = ~missing[:, place]
            if weight[known].any():
                column = center_and_spread(numbers[known, place, None], weight[known])
                # Where all known numbers are the same, only a gap differs: by 1, in any unit.
                center[place], spread[place] = column[0][0], column[1][0] or 1.0
        first = dummies(numbers[used])
        *units, parts = spread_of_dummies(numbers[used], first, weight[used])
        center[parts], spread[parts] = units
        self._center, self._reach = center.copy(), FAR * np.where(spread > 0, spread, np.inf)
        self._apart = spread[self._gaps]
        self._levels = [
            OneHotEncoder(
                handle_unknown="infrequent_if_exist", sparse_output=False,
                max_categories=int(np.clip(used.sum() // 2, *LEVELS)),
            ).fit(column[used, None]) for column in categories
        ]
        self._shares = shares = [
            np.average(encoder.transform(column[:, None]), axis=0, weights=weight)
            for encoder, column in zip(self._levels, categories, strict=True)
        ]
        place = np.flatnonzero(~categorical)
        sizes = [len(share) for share in shares]
        known = len(self._gaps)
        starts = known + self._gaps.sum() + np.cumsum([0, *sizes])
        levels = map(_missing_level, starts, self._levels)
        self._marks = [*range(known, starts[0]), *(mark for mark in levels if mark is not None)]
        owner = np.repeat(np.flatnonzero(categorical), sizes)
        spreads = [np.sqrt(max(0.0, 1 - share @ share)) for share in shares]
        gaps = missing[:, self._gaps] * self._apart
        self.units = Units(
            np.concatenate([center, np.average(gaps, axis=0, weights=weight), *shares]),
            # Two rows drawn at random are √2 spreads apart, in a category as in a number.
            np.concatenate([spread, self._apart, np.repeat(spreads, sizes)]),
            np.concatenate([place, place[self._gaps], owner]),
            np.concatenate([place[first], place[self._gaps], owner]),
            np.append(has_curve(np.where(missing, self._medians, numbers)),
                      np.zeros(len(self._apart) + len(owner), bool)),
            len(owner),
        )

    def encode(self, numbers, categories):
        """The coordinates (n, D) of rows given by their columns."""
        missing = np.isnan(numbers)
        if missing.any():
            numbers = np.where(missing, self._medians, numbers)
        numbers = self._within_reach(numbers)
        if not (self._gaps.any() or categories):
            return numbers
        levels = [encoder.transform(column[:, None])
                  for encoder, column in zip(self._levels, categories, strict=True)]
        return np.hstack([numbers, missing[:, self._gaps] * self._apart, *levels])

    def rare_levels(self):
        """For each category, how many levels share one coordinate, and the share of their rows."""
        rare = [getattr(encoder, "infrequent_categories_", [None])[0] for encoder in self._levels]
        return [(0, 0.0) if levels is None else (len(levels), share[-1])
                for levels, share in zip(rare, self._shares, strict=True)]

    def with_gaps(self, points):
        """Which rows (n, D), given by their coordinates, lack a cell that some samples lack."""
        return (points[:, self._marks] != 0).any(1)

    def _within_reach(self, numbers):
        """Numbers in their order, but none so far out that distances between others are rounded."""
        offset = numbers - self._center
        size = np.abs(offset)
        far = size > self._reach
        if not far.any():
            return numbers
        with np.errstate(all="ignore"):
            drawn = self._reach * (1 + np.log(size / self._reach))
        return np.where(far, self._center + np.sign(offset) * drawn, numbers)


def fit_table(estimator, X, y, categorical_features, weight_of, **checks):
    """(table, coordinates, y, weights) of the arguments of ``fit``, checked as scikit-learn does.

    Parameters
    ----------
    estimator
        Its n_features_in_ and feature_names_in_ are set.
    categorical_features : "from_dtype", or the names, places or a mask of columns
    weight_of : callable
        The checked sample weights of rows X.
    **checks
        Arguments of scikit-learn's ``check_X_y``.

    Raises
    ------
    ValueError
        For columns that do not exist, cells that are neither missing, numbers nor levels, or
        infinite numbers.

    Warns
    -----
    UserWarning
        If text that is taken as a category looks like numbers, dates or names of the rows; if
        levels of a category are taken as one.
    """
    if is_frame(X) and len(set(X.columns)) < X.shape[1]:
        again = sorted({str(name) for name in X.columns if list(X.columns).count(name) > 1})
        raise ValueError(f"X has several columns named {again}: rename them")
    kinds = _kinds(X, categorical_features)
    if kinds is None:
        numbers, y = validate_data(
            estimator, X, y, dtype=np.float64, ensure_all_finite="allow-nan", **checks
        )
        categories, kinds = [], np.zeros(numbers.shape[1], bool)
    else:
        validate_data(estimator, X, skip_check_array=True)
        numbers, categories = _split(X, kinds)
        if isinstance(categorical_features, str) and is_frame(X):
            for place, levels in zip(np.flatnonzero(kinds), categories, strict=True):
                if not hasattr(X.dtypes.iloc[place], "categories"):
                    warn_of_text(X.columns[place], levels, stacklevel=3)
        rows = np.arange(len(X), dtype=float)[:, None]
        y = check_X_y(rows, y, **checks)[1]
    weight = weight_of(numbers)
    table = Table(numbers, categories, kinds, weight)
    for place, (count, share) in zip(np.flatnonzero(kinds), table.rare_levels(), strict=True):
        if count and share * np.count_nonzero(weight) >= 2 * count:
            name = X.columns[place] if is_frame(X) else place
            warn_explained(
                f"column {name!r} has so many levels that the {count} rarest of them are taken "
                "as one: if they matter, encode the column before, for example by "
                "sklearn.preprocessing.TargetEncoder",
                UserWarning, stacklevel=3,
            )
    return table, table.encode(numbers, categories), y, weight


def read_rows(estimator, table, X):
    """The coordinates of rows X for a fitted estimator."""
    if not table.categorical.any() and _kinds(X, "from_dtype") is None:
        numbers = validate_data(
            estimator, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        return table.encode(numbers, [])
    validate_data(estimator, X, reset=False, skip_check_array=True)
    return table.encode(*_split(X, table.categorical))


def _missing_level(start, encoder):
    """The coordinate that is 1 where a category is missing; None if it shares it, or has none."""
    rare = getattr(encoder, "infrequent_categories_", [None])[0]
    if None not in encoder.categories_[0] or (rare is not None and None in rare):
        return None
    return start + int(np.argmax(encoder.transform(np.array([[None]], object))[0]))


def _median(column):
    known = column[~np.isnan(column)]
    return np.median(known) if len(known) else 0.0


def is_frame(X):
    return hasattr(X, "iloc") and hasattr(X, "dtypes")


def _columns(X):
    """The columns of a DataFrame or a two-dimensional array."""
    if is_frame(X):
        return [X.iloc[:, place] for place in range(X.shape[1])]
    return list(np.asarray(X, dtype=object).T)


def _kinds(X, categorical):
    """Which columns are categories, (d,) of bool; None where X is to be read as plain numbers."""
    if isinstance(categorical, str) and categorical == "from_dtype":
        if not is_frame(X) or all(dtype.kind in "fiub" for dtype in X.dtypes):
            return None
        return np.array([_is_category(column) for column in _columns(X)])
    d = np.shape(X)[1] if np.ndim(X) == 2 else 0
    chosen = np.atleast_1d(np.asarray(() if categorical is None else categorical))
    mask = np.zeros(d, bool)
    if chosen.dtype == bool and len(chosen) == d:
        mask = chosen
    elif chosen.dtype.kind in "iu" and (chosen >= -d).all() and (chosen < d).all():
        mask[chosen] = True
    elif chosen.size:
        names = list(getattr(X, "columns", ()))
        lost = [name for name in chosen.tolist() if name not in names]
        if lost or chosen.dtype == bool:
            raise ValueError(
                f"categorical_features={categorical!r} must be 'from_dtype', or names, places or a "
                f"mask of the {d} columns of X" + (f"; {lost} are none of them" if lost else "")
            )
        mask[[names.index(name) for name in chosen.tolist()]] = True
    return mask if mask.any() or is_frame(X) else None


def _is_category(column):
    """Whether a column of a DataFrame holds levels: it is categorical, or has cells of text."""
    if hasattr(column.dtype, "categories"):
        return True
    if column.dtype.kind in "fiubMm":
        return False
    known = column[column.notna()]
    return not all(isinstance(cell, Real) for cell in known)


def _split(X, categorical):
    """The numbers (n, q) and the list of categories in the columns of a table."""
    names = getattr(X, "columns", range(len(categorical)))
    pairs = list(zip(names, _columns(X), categorical, strict=True))
    numbers = [_as_number(name, column) for name, column, other in pairs if not other]
    stacked = np.column_stack(numbers) if numbers else np.empty((len(X), 0))
    return stacked, [_as_level(column) for _, column, other in pairs if other]


def _as_number(name, column):
    kind = np.dtype(column.dtype).kind if isinstance(column, np.ndarray) else column.dtype.kind
    if kind in "Mm":
        values = np.asarray(column, dtype=f"{kind}8[ns]")  # of time zones too, in UTC
        numbers = np.where(np.isnat(values), np.nan, values.astype(np.int64) / NANOSECONDS)
    else:
        try:
            numbers = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"column {name!r} has cells that are no numbers ({error}): list it in "
                "categorical_features if they are levels"
            ) from error
    if np.isinf(numbers).any():
        raise ValueError(f"column {name!r} of X contains infinity: correct it, or leave it empty")
    return numbers


def _as_level(column):
    """Levels as text; a number is the same level whether it is stored as an integer or a float."""
    levels = np.empty(len(column), dtype=object)
    for place, cell in enumerate(np.asarray(column, dtype=object)):
        if isinstance(cell, Real):
            levels[place] = None if np.isnan(cell) else repr(float(cell))
        else:
            if isinstance(cell, list | dict | set | np.ndarray):
                raise ValueError(
                    f"a cell of X holds a {type(cell).__name__}, {cell!r:.60}: a number, a date "
                    "or text is needed"
                )
            missing = cell is None or type(cell).__name__ in ("NAType", "NaTType")
            levels[place] = None if missing else str(cell)
    return levels
