"""Numbers as people write them: "1,234.5", "$1,234.00", "5 %", "(12)", "3,5", "12 kg".

skrub's ToFloat is not enough here: it computes in float32, takes "1,2,3" for 123, knows no units,
and turns what it cannot read into missing values without a word.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

CURRENCY = r"[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
RATIOS = ("%", "‰")
GROUPS = {".": ",", ",": "."}  # the thousands' separator that goes with a decimal sign


class Numbers(NamedTuple):
    """A column of text read as numbers.

    Attributes
    ----------
    values : Series of float64
        NaN where a cell is missing or no number.
    odd : Series of bool
        The cells that hold something, but no number.
    units : Series of str
        "", or the currency, "%" or the letters that stand beside the number.
    """

    values: pd.Series
    odd: pd.Series
    units: pd.Series

    @property
    def complete(self):
        """Whether every cell that holds something is a number, all in one unit.

        Letters must stand beside every number: then they are a unit, not a part of a code. Among
        percentages a number without "%" may mean another thing; currencies may be left out.
        """
        if self.odd.any():
            return False
        units = self.units[self.values.notna()].unique()
        named = [unit for unit in units if unit]
        return len(named) <= 1 and (len(units) <= 1 or _is_currency(named[0]))


def _is_currency(unit):
    return re.fullmatch(CURRENCY, unit) is not None


def _pattern(decimal):
    """A number whose decimal sign is ``decimal``; groups of thousands are three digits each."""
    sign, group = re.escape(decimal), re.escape(GROUPS[decimal])
    return (
        rf"\s*(?P<open>\()?\s*(?P<sign>[-+−])?\s*(?P<before>{CURRENCY})?\s*(?P<inner>[-+−])?"
        rf"(?P<whole>[1-9]\d{{0,2}}(?P<by>[{group}\s'’])\d{{3}}(?:(?P=by)\d{{3}})*|\d*)"
        rf"(?:{sign}(?P<fraction>\d*))?(?P<exponent>[eE][-+]?\d+)?"
        rf"\s*(?P<after>{CURRENCY}|%|‰|[^\W\d_]{{1,4}})?\s*(?P<close>\))?\s*"
    )


def read_numbers(text, decimal) -> Numbers:
    """The column under one decimal sign.

    Parameters
    ----------
    text : Series of str
        Missing cells are missing.
    decimal : {".", ","}
    """
    held = text.notna()
    plain = pd.Series("", index=text.index, dtype=object)
    if decimal == "." or not text.str.contains(".", regex=False, na=False).any():
        try:  # most columns of numbers are written as computers do
            values = pd.to_numeric(text).astype(float)
            return Numbers(values, pd.Series(False, index=text.index), plain)
        except (ValueError, TypeError):
            pass
    parts = text.astype(object).str.extract(f"^{_pattern(decimal)}$")
    digits = parts["whole"].fillna("") + parts["fraction"].fillna("")
    paired = parts["open"].notna() == parts["close"].notna()
    signs = parts["sign"].notna().astype(int) + parts["inner"].notna() + parts["open"].notna()
    both_units = parts["before"].notna() & parts["after"].notna()
    good = held & digits.str.contains(r"\d") & paired & (signs <= 1) & ~both_units
    negative = parts["sign"].isin(["-", "−"]) | parts["inner"].isin(["-", "−"])
    negative |= parts["open"].notna()
    whole = parts["whole"].fillna("").str.replace(r"\D", "", regex=True)
    written = "0" + whole + "." + parts["fraction"].fillna("") + "0" + parts["exponent"].fillna("")
    values = pd.to_numeric(written.where(good), errors="coerce").astype(float)
    values = values.where(~negative, -values)
    endless = text.str.fullmatch(r"[-+]?inf(?:inity)?", case=False).eq(True)
    values = values.where(~endless, pd.to_numeric(text.where(endless)).astype(float))
    units = parts["before"].fillna(parts["after"]).fillna("")
    return Numbers(values, held & ~good & ~endless, units.where(good & ~endless, ""))


class Reading(NamedTuple):
    """How one column of text is read.

    Attributes
    ----------
    decimal : str or None
        The decimal sign of its numbers; None where it does not hold numbers.
    clash : str or None
        Why it cannot be read as it is, with the row: words for an error.
    note : str or None
        What a user should know about how it was read.
    """

    decimal: str | None = None
    clash: str | None = None
    note: str | None = None


def _cell(text, where):
    row = int(np.flatnonzero(np.asarray(where))[0])
    return f"{str(text.iloc[row])!r} in row {row + 1}"


def _clash(text, numbers):
    """Why a column that mostly holds numbers is not one of numbers; None where it does not."""
    held = text.notna()
    good = held & ~numbers.odd
    units = numbers.units[good].unique()
    counted = good & numbers.units.isin(["", *RATIOS, *filter(_is_currency, units)])
    different = text[held].nunique()
    most = counted.sum() > held.sum() / 2 or text[counted].nunique() > max(1, different) / 2
    if not most:
        return None
    if (held & ~counted).any():
        where = held & ~counted
        return f"numbers, except {_cell(text, where)} ({int(where.sum())} such cells)"
    first, other = (_cell(text, good & (numbers.units == unit)) for unit in units[:2])
    return f"numbers in several units, {first} and {other}"


def settle_decimals(columns, decimal=None, sep=","):
    """For each column of text whether it holds numbers, and with which decimal sign.

    A column that reads as numbers with one sign only proves this sign. Where both signs will do
    and give different numbers ("1,234"), the columns that prove one decide.

    Parameters
    ----------
    columns : dict of str to Series of str
    decimal : {".", ","} or None
        None: as the columns show.
    sep : str or None
        The file's delimiter: after ";" a comma is as likely a decimal sign as not.

    Returns
    -------
    dict of str to Reading
    """
    found, unclear = {}, {}
    for name, text in columns.items():
        read = {sign: read_numbers(text, sign) for sign in _possible(text, decimal)}
        complete = [sign for sign, numbers in read.items() if numbers.complete]
        if decimal is not None and complete and decimal not in complete:
            clash = f"numbers with the decimal sign {complete[0]!r}, against --decimal {decimal}"
            found[name] = Reading(clash=clash)
        elif len(complete) == 2 and not read["."].values.equals(read[","].values):
            unclear[name] = text
        elif complete:
            found[name] = Reading(complete[0] if decimal is None else decimal)
        else:
            clashes = [_clash(text, numbers) for numbers in read.values()]
            found[name] = Reading(clash=next((c for c in clashes if c), None))
    proved = _proved(found, columns)
    if decimal is None and "," in proved:  # then "1.234" may be a thousand and more
        points = [name for name in found if found[name].decimal == "."]
        unclear |= {
            name: columns[name] for name in points
            if _has_sign(columns[name]) and read_numbers(columns[name], ",").complete
        }
        proved = _proved({n: r for n, r in found.items() if n not in unclear}, columns)
    return found | {name: _unclear(text, proved, sep, decimal) for name, text in unclear.items()}


def _possible(text, decimal):
    """The decimal signs to try; numbers without a comma are first taken for what they look like."""
    comma = text.str.contains(",", regex=False, na=False).any()
    return (".", ",") if comma or decimal is not None else (".",)


def _has_sign(text):
    return text.str.contains(r"[.,]\d", na=False).any()


def _proved(found, columns):
    """The decimal signs of the columns that read with one alone."""
    return {r.decimal for name, r in found.items() if r.decimal and _has_sign(columns[name])}


def _unclear(text, proved, sep, decimal):
    """The reading of a column that both decimal signs fit."""
    if decimal is not None:
        return Reading(decimal)
    example = _cell(text, text.str.contains(r"[.,]\d", na=False))
    if len(proved) == 1:
        return Reading(next(iter(proved)))
    if proved or sep == ";":
        return Reading(
            clash=f"numbers whose decimal sign is not certain, such as {example}: give --decimal"
        )
    return Reading(".", note=f"{example} is read with ',' between thousands (--decimal , if not)")
