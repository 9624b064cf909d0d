"""Columns that a model should not see: identifiers, the order of the rows, copies, constants.

Each rule returns why, in words, or None. The rules look at no more than the column and the target.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

ENOUGH = 10  # values from which "no two are alike" says something
ROW_NAMES = {"", "rownames", "rowname", "rownumber", "rowid", "rowindex", "row", "index", "idx"}
IDENTIFIERS = {"id", "ids", "uuid", "guid", "key", "identifier"}


def suspects(frame, y, repeated):
    """Why some columns are left out: dict of name to reason.

    Parameters
    ----------
    frame : DataFrame
        Numbers, dates and categories, as ``Columns`` reads them; without the target.
    y : Series
        The target.
    repeated : dict of str to str
        Names that repeat another one in the header, which they are given for.
    """
    found = {}
    for name in frame.columns:
        column = frame[name]
        reason = _constant(column) or _copy(column, y)
        if name in repeated:
            reason = reason or f"the header has {repeated[name]!r} more than once"
        reason = reason or _identifier(name, column)
        if reason:
            found[name] = reason
    return found


def _constant(column):
    """Nothing, or one value, in all rows."""
    if column.isna().all():
        return "it is empty"
    if column.nunique(dropna=False) == 1:
        return "it is the same in all rows"
    return None


def _identifier(name, column):
    """Numbers or text that tell one row from every other, and so carry its place in the table.

    Whole numbers, no two alike, are an identifier if they fill at least half of the range that they
    span (1, 2, 3, …; with gaps or shuffled), whatever their name, or if their name says so. Text is
    one if more than nine rows in ten have one of their own.
    """
    held = column.dropna()
    alike = len(held) - held.nunique()
    if pd.api.types.is_numeric_dtype(column):
        if alike or len(held) < ENOUGH or (held != held.round()).any():
            return None
        if held.max() - held.min() < 2 * len(held):
            return "its whole numbers count the rows, no two are alike"
        return "by its name, and no two rows are alike" if _named_so(name) else None
    if isinstance(column.dtype, pd.CategoricalDtype) and len(held) >= ENOUGH:
        if alike < 0.1 * len(held):
            return f"text with {held.nunique()} values in {len(held)} rows, an identifier"
    return None


def _named_so(name):
    """Whether a column is called id, customer_id, PatientID, rownames, Unnamed: 0, …."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    last = words[-1].lower() if words else ""
    plain = re.sub(r"[\W\d_]", "", name.lower())
    return last in IDENTIFIERS or plain in ROW_NAMES or plain == "unnamed"


def _copy(column, y):
    """The target again, in other units or under other names.

    One value of the column goes with each value of the target and back. Where the target's values
    are mostly different, every column without repetitions does that: it must then rise or fall
    with the target as well.
    """
    both = column.notna()
    x, y = pd.factorize(column[both])[0], y[both]
    codes = pd.factorize(y)[0]
    different = len(np.unique(codes))
    if different < 2 or different != len(np.unique(x)):
        return None
    if len(np.unique(x.astype(np.int64) * different + codes)) != different:
        return None
    if different <= len(y) / 2:
        return "each of its values goes with one of the target's, a copy of it"
    if different < ENOUGH or not all(map(pd.api.types.is_numeric_dtype, (column, y))):
        return None
    order = np.diff(y.to_numpy(float)[np.argsort(column[both].to_numpy(float), kind="stable")])
    if (order >= 0).all() or (order <= 0).all():
        return "it rises (or falls) with the target in all rows, a copy of it"
    return None
