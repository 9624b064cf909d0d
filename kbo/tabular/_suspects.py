"""Columns that a model should not use: identifiers, row numbers, copies of the target, constants.

Each rule returns the reason, in words, or None. It sees only the column, its name and the target.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

FAR = 100  # widths of the middle half of a column beyond which a value may be an error
FEW = 20  # different values of a target that may be classes
ENOUGH = 10  # with fewer values, it may be chance that no two are alike
ROW_NAMES = {"", "rownames", "rowname", "rownumber", "rowid", "rowindex", "row", "index", "idx"}
SOMEONE = {"patient", "person", "subject", "customer", "user", "household", "school", "firm"}
IDENTIFIERS = {"id", "ids", "uuid", "guid", "key", "identifier"}


def suspects(frame, y, repeated):
    """The columns to leave out, as a dict of name to reason.

    Parameters
    ----------
    frame : DataFrame
        Numbers, dates and categories, as ``Columns`` reads them; without the target.
    y : Series
        The target.
    repeated : dict of str to str
        For each column whose header repeats an earlier one, the name in the header.
    """
    found, rows = {}, len(frame.assign(**{f"target {y.name}": y}).drop_duplicates())
    for name in frame.columns:
        column = frame[name]
        reasons = [_constant(column)]
        if reasons == [None]:
            again = f"the header has {repeated.get(name)!r} more than once"
            reasons = [
                again if name in repeated else None, _identifier(name, column),
                _copy(column, y, rows),
            ]
        if any(reasons):
            found[name] = "; ".join(filter(None, reasons))
    return found


def made_from_target(frame, y):
    """Names of columns that may have been made from the target, such as "over 2,500".

    If the rows are sorted by the target, each value of such a column occupies one contiguous
    stretch. The column may be a genuine feature, or it may be unknown when the model is used, which
    the user must judge.

    Parameters
    ----------
    frame : DataFrame
    y : Series
        Only numeric targets are checked: classes are divided in this way by any column that tells
        them apart well.
    """
    if not pd.api.types.is_numeric_dtype(y) or y.nunique() < ENOUGH:
        return []
    order = np.argsort(y.to_numpy(float), kind="stable")
    found = []
    for name in frame.columns:
        codes = pd.factorize(frame[name].iloc[order])[0]
        values = len(np.unique(codes))
        if 1 < values <= len(y) / 2 and (np.diff(codes) != 0).sum() == values - 1:
            found.append(name)
    return found


def outliers(frame):
    """(name, value, row, distance) of the number in each column that lies too far from the others.

    The distance from the median is in widths of the middle half of the column's values.

    Parameters
    ----------
    frame : DataFrame
        Numbers, dates and categories, as ``Columns`` reads them.
    """
    found = []
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            continue
        values = frame[name].to_numpy(float)
        low, median, high = np.nanquantile(values, (0.25, 0.5, 0.75)) if len(values) else [0.0] * 3
        far = np.nan_to_num(np.abs(values - median))
        row = int(np.argmax(far)) if len(values) else 0
        if high > low and far[row] > FAR * (high - low):
            found.append((name, float(values[row]), row, float(far[row] / (high - low))))
    return found


def hints_of_order(frame):
    """Remarks on columns by which rows may hang together: names of people, dates in order."""
    found = []
    for name in frame.columns:
        held = frame[name].dropna()
        values = held.nunique()
        if pd.api.types.is_datetime64_any_dtype(held):
            if values > 0.9 * len(held) and held.is_monotonic_increasing and len(held) >= ENOUGH:
                found.append(
                    f"rows are in the order of {name!r}: if new rows are later ones, --time "
                    f"'{name}' divides them so"
                )
        elif _names_someone(name) and ENOUGH <= values <= len(held) / 2:
            found.append(
                f"{name!r} has {values} values in {len(held)} rows: if rows of one belong together "
                f"and new rows are of others, --group '{name}' divides them so"
            )
    return found


def _names_someone(name):
    words = set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()))
    return bool(words & (SOMEONE | IDENTIFIERS))


def _constant(column):
    """The reason if a column is empty or has one value in all rows."""
    if column.isna().all():
        return "it is empty"
    if column.nunique(dropna=False) == 1:
        return "it is the same in all rows"
    return None


def _identifier(name, column):
    """The reason if a column of numbers or text only tells the rows apart.

    Whole numbers without repetitions are an identifier if they fill at least half of the range that
    they span (1, 2, 3, …, possibly shuffled or with gaps), whatever their name, or if their name
    says so. Text is an identifier if its distinct values number more than nine tenths of the rows.
    """
    held = column.dropna()
    alike = len(held) - held.nunique()
    if pd.api.types.is_numeric_dtype(column):
        if alike or len(held) < ENOUGH or (held != held.round()).any():
            return None
        if held.max() - held.min() < 2 * len(held):
            return "it numbers the rows"
        return "it is an identifier by its name, no two alike" if _named_so(name) else None
    text = isinstance(column.dtype, pd.CategoricalDtype)
    if text and len(held) >= ENOUGH and alike < 0.1 * len(held):
        return f"it tells the rows apart, by {held.nunique()} different texts"
    return None


def _named_so(name):
    """Whether a column has a name like id, customer_id, PatientID, rownames or Unnamed: 0."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    last = words[-1].lower() if words else ""
    plain = re.sub(r"[\W\d_]", "", name.lower())
    return last in IDENTIFIERS or plain in ROW_NAMES or plain == "unnamed"


def _copy(column, y, rows):
    """The reason if a column is the target in other units or under other names.

    The values of such a column correspond one to one to the values of the target. If most values of
    the target are different among the ``rows`` that are no copies of others, every column without
    repetitions does so; it must then also be a monotone function of the target.
    """
    both = column.notna()
    x, y = pd.factorize(column[both])[0], y[both]
    codes = pd.factorize(y)[0]
    different = len(np.unique(codes))
    if different < 2 or different != len(np.unique(x)):
        return None
    if len(np.unique(x.astype(np.int64) * different + codes)) != different:
        return None
    if different <= max(FEW, rows / 2) and different <= len(y) / 2:
        return "it is a copy of the target, each value goes with one of the target's"
    if different < ENOUGH or not all(map(pd.api.types.is_numeric_dtype, (column, y))):
        return None
    order = np.diff(y.to_numpy(float)[np.argsort(column[both].to_numpy(float), kind="stable")])
    if (order >= 0).all() or (order <= 0).all():
        return "it is a copy of the target, with which it rises (or falls) in all rows"
    return None
