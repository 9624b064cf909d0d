"""Columns that a model should not see: identifiers, the order of the rows, copies, constants.

Each rule returns why, in words, or None, and looks at no more than the column and the target.
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
        reasons = [_constant(column)]
        if reasons == [None]:
            again = f"the header has {repeated.get(name)!r} more than once"
            reasons = [
                again if name in repeated else None, _identifier(name, column), _copy(column, y)
            ]
        if any(reasons):
            found[name] = "; ".join(filter(None, reasons))
    return found


def made_from_target(frame, y):
    """Names of columns that the target determines, and that divide its range: "over 2,500", say.

    In the order of the target each value of such a column stands in one stretch. This may be so in
    truth, and where the model is to be used it may not: a user should know.

    Parameters
    ----------
    frame : DataFrame
    y : Series
        Numbers; classes are divided by any column that is good at telling them apart.
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
            return "it numbers the rows"
        return "it is an identifier by its name, no two alike" if _named_so(name) else None
    text = isinstance(column.dtype, pd.CategoricalDtype)
    if text and len(held) >= ENOUGH and alike < 0.1 * len(held):
        return f"it tells the rows apart, by {held.nunique()} different texts"
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
        return "it is a copy of the target, each value goes with one of the target's"
    if different < ENOUGH or not all(map(pd.api.types.is_numeric_dtype, (column, y))):
        return None
    order = np.diff(y.to_numpy(float)[np.argsort(column[both].to_numpy(float), kind="stable")])
    if (order >= 0).all() or (order <= 0).all():
        return "it is a copy of the target, with which it rises (or falls) in all rows"
    return None
