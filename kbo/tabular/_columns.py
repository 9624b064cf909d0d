"""Inference of the types of a table's columns, and reading another file in the same way."""

from __future__ import annotations

import numbers
import re
from decimal import Decimal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._numbers import read_numbers, settle_decimals

MISSING = frozenset({
    "", "?", "...", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "nan", "NaN", "-nan",
    "-NaN", "null", "NULL", "none", "None", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN",
})
KINDS = ("number", "category", "date")


def as_text(column):
    """The cells as text without surrounding spaces; None for missing cells (see MISSING)."""
    text = column.astype(object).map(lambda cell: str(cell).strip(), na_action="ignore")
    return text.where(text.notna() & ~text.isin(MISSING), None)


class NumberColumn:
    """Reads a column of numbers, as float64.

    Parameters
    ----------
    decimal : {".", ","}
    lenient : bool
        Whether cells that are not numbers count as missing; otherwise they are refused.
    """

    kind = "number"

    def __init__(self, decimal=".", lenient=False):
        self.decimal, self.lenient = decimal, lenient

    def read(self, column):
        """The column as float64; refuses infinite numbers and, unless lenient, other text."""
        if pd.api.types.is_timedelta64_dtype(column):
            values = column.dt.total_seconds()
        elif pd.api.types.is_numeric_dtype(column):
            values = column.astype(float)
        else:
            text = as_text(column)
            found = read_numbers(text, self.decimal)
            values = found.values
            if found.odd.any() and not self.lenient:
                row = int(np.flatnonzero(found.odd)[0])
                raise ValueError(
                    f"column {column.name!r} holds numbers, but {text.iloc[row]!r} in row "
                    f"{row + 1} is none (with the decimal sign {self.decimal!r}): mend "
                    "the cell, or empty it"
                )
        endless = np.flatnonzero(np.isinf(values))
        if len(endless):
            raise ValueError(
                f"column {column.name!r} is infinite in row {endless[0] + 1} "
                f"({len(endless)} such cells): correct them, or leave the cells empty"
            )
        return values


class DateColumn:
    """Reads a column of dates and times, whose format is found by skrub's ToDatetime."""

    kind = "date"

    def __init__(self, reader):
        self.reader = reader

    @classmethod
    def of(cls, column):
        """The reader fitted to a column, or None if the column does not hold dates."""
        from skrub import ToDatetime
        from skrub.core import RejectColumn

        reader = ToDatetime()
        try:
            reader.fit(column)
        except RejectColumn:
            return None
        return cls(reader)

    def doubt(self, text):
        """A note if days and months could be swapped in every date; None otherwise."""
        written = self.reader.format_ or ""
        swap = {"%d": "%m", "%m": "%d"}
        swapped = re.sub("%[dm]", lambda found: swap[found.group()], written)
        held = text.dropna()
        if not written.startswith(("%d", "%m")) or pd.to_datetime(
            held, format=swapped, errors="coerce"
        ).isna().any():
            return None
        order = "day first" if written.startswith("%d") else "month first"
        return f"{held.iloc[0]!r} is read {order}: 2020-12-31 is the form that is certain"

    def read(self, column):
        """The column as datetime64; cells that are not dates count as missing."""
        if not pd.api.types.is_datetime64_any_dtype(column):
            column = as_text(column)
        return self.reader.transform(column)


class CategoryColumn:
    """Reads a column of categories or text.

    Attributes
    ----------
    levels : frozenset of str
        The levels seen in ``fit``.
    """

    kind = "category"

    def __init__(self, column):
        self.levels = frozenset(as_text(column).dropna())

    def read(self, column):
        """The column as a pandas category, so that no later step takes it for numbers."""
        return as_text(column).astype("category")


class Columns(TransformerMixin, BaseEstimator):
    """Converts columns of text, or of any other type, to numbers, dates and categories.

    Parameters
    ----------
    decimal : {".", ","} or None
        The decimal sign in text; None infers it for each column.
    types : dict of str to {"number", "category", "date"} or None
        The kinds of some columns, where known. In a "number" column all other cells count as
        missing.
    sep : str or None
        The delimiter of the file. With ";" a comma may well be a decimal sign.

    Attributes
    ----------
    readers_ : dict of str to reader
        One for each column; a reader has a ``kind`` and a method ``read``.
    notes_ : list of str
        Remarks for the user on how columns were read.
    """

    def __init__(self, decimal=None, types=None, sep=None):
        self.decimal = decimal
        self.types = types
        self.sep = sep

    def fit(self, X, y=None):
        """Infer the kind of each column.

        Raises
        ------
        ValueError
            If a column of numbers has cells that are not numbers (the first such row is named), or
            if ``types`` names columns that do not exist.
        """
        types = dict(self.types or {})
        unknown = [name for name in types if name not in X.columns]
        if unknown:
            raise ValueError(f"--types names {unknown}; the table has {list(X.columns)}")
        self.readers_, self.notes_, unread = {}, [], {}
        for name in X.columns:
            reader = _known(X[name], types.get(name))
            if reader is None:
                unread[name] = as_text(X[name])
            self.readers_[name] = reader
        readings = settle_decimals(unread, self.decimal, self.sep)
        for name, text in unread.items():
            reading, forced = readings[name], types.get(name)
            if reading.clash and forced is None:
                raise ValueError(
                    f"column {name!r} holds {reading.clash}. Correct the cells, or say what they "
                    f"are: --types '{name}=number' (other cells are then missing) or "
                    f"'{name}=category', or --drop '{name}'"
                )
            if reading.note and forced is None:
                self.notes_.append(f"{name}: {reading.note}")
            self.readers_[name] = reader = _reader(name, text, reading, self.decimal, forced)
            doubt = reader.doubt(text) if reader.kind == "date" else None
            if doubt:
                self.notes_.append(f"{name}: {doubt}")
        return self

    def transform(self, X):
        """The columns seen in ``fit``, read in the same way and in the same order.

        Raises
        ------
        ValueError
            If columns are missing, or a cell of a column of numbers is not a number; the message
            names them.
        """
        check_is_fitted(self)
        lost = [name for name in self.readers_ if name not in X.columns]
        if lost:
            raise ValueError(f"columns {lost} are missing; the table has {list(X.columns)}")
        return pd.DataFrame({name: reader.read(X[name]) for name, reader in self.readers_.items()},
                            index=X.index)

    def only(self, names):
        """A fitted Columns with the same readers, for these columns only."""
        chosen = Columns(self.decimal, self.types, self.sep)
        chosen.readers_ = {name: self.readers_[name] for name in names}
        chosen.notes_ = list(self.notes_)
        return chosen

    def set_decimal(self, decimal):
        """Read all numbers with this decimal sign from now on."""
        for name in self.of_kind("number"):
            self.readers_[name].decimal = decimal

    def unseen(self, typed):
        """The levels of each category column that ``fit`` has not seen: a dict of name to list."""
        found = {}
        for name in self.of_kind("category"):
            new = sorted(set(typed[name].dropna()) - self.readers_[name].levels)
            if new:
                found[name] = new
        return found

    def of_kind(self, kind):
        """The names of the columns of one kind."""
        return [name for name, reader in self.readers_.items() if reader.kind == kind]


def _known(column, forced):
    """The reader of a column whose kind is known from its type or ``forced``; None for text."""
    types = pd.api.types
    held = column.dropna()
    nested = [cell for cell in held if isinstance(cell, list | dict | tuple | np.ndarray)] if (
        types.is_object_dtype(column)) else []
    if nested:
        raise ValueError(
            f"column {column.name!r} holds {type(nested[0]).__name__}s, such as {nested[0]!r:.60}: "
            f"one number, date or text in a cell is needed, or --drop '{column.name}'"
        )
    flags = types.is_bool_dtype(column) or (
        types.is_object_dtype(column) and len(held)
        and all(isinstance(cell, bool | np.bool_) for cell in held)
    )
    if forced == "category" or isinstance(column.dtype, pd.CategoricalDtype) or (
        flags and forced is None
    ):
        return CategoryColumn(column)
    if types.is_datetime64_any_dtype(column) and forced in (None, "date"):
        return DateColumn.of(column)
    numeric = flags or types.is_numeric_dtype(column) or types.is_timedelta64_dtype(column) or (
        len(held) and all(isinstance(cell, Decimal | numbers.Real) for cell in held)
    )
    return NumberColumn() if numeric and forced in (None, "number") else None


def _reader(name, text, reading, decimal, forced):
    """The reader of a column of text, given its ``reading`` as numbers and its forced kind."""
    if forced == "number":
        counts = {sign: read_numbers(text, sign).values.notna().sum() for sign in (".", ",")}
        if not any(counts.values()):
            raise ValueError(f"--types {name}=number: the column holds no number")
        return NumberColumn(decimal or reading.decimal or max(counts, key=counts.get), lenient=True)
    if reading.decimal is not None and forced is None:
        return NumberColumn(reading.decimal)
    dates = DateColumn.of(text)
    if forced == "date" and dates is None:
        raise ValueError(f"--types {name}=date: no format of dates fits the column")
    return CategoryColumn(text) if dates is None else dates
