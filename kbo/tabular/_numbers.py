"""Numbers in the formats that people write: "1,234.5", "$1,234.00", "5 %", "(12)", "3,5", "12 kg".

skrub's ToFloat does not suffice: it computes in float32, reads "1,2,3" as 123, knows no units, and
silently turns cells that it cannot read into missing values.
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
        NaN where a cell is missing or not a number.
    odd : Series of bool
        Marks the cells that are neither missing nor numbers.
    units : Series of str
        The currency, "%" or letters next to the number, or "".
    """

    values: pd.Series
    odd: pd.Series
    units: pd.Series

    @property
    def complete(self):
        """Whether every cell that is not missing is a number, all in the same unit.

        Letters count as a unit only if they are next to every number; otherwise they may be part of
        a code. A number without "%" among percentages may mean something else. A currency may be
        left out of some cells.
        """
        if self.odd.any():
            return False
        units = self.units[self.values.notna()].unique()
        named = [unit for unit in units if unit]
        return len(named) <= 1 and (len(units) <= 1 or _is_currency(named[0]))


def _is_currency(unit):
    return re.fullmatch(CURRENCY, unit) is not None


def _pattern(decimal):
    """The regular expression of a number with this decimal sign; thousands groups have 3 digits."""
    sign, group = re.escape(decimal), re.escape(GROUPS[decimal])
    return (
        rf"\s*(?P<open>\()?\s*(?P<sign>[-+−])?\s*(?P<before>{CURRENCY})?\s*(?P<inner>[-+−])?"
        rf"(?P<whole>[1-9]\d{{0,2}}(?P<by>[{group}\s'’])\d{{3}}(?:(?P=by)\d{{3}})*|\d*)"
        rf"(?:{sign}(?P<fraction>\d*))?(?P<exponent>[eE][-+]?\d+)?"
        rf"\s*(?P<after>{CURRENCY}|%|‰|[^\W\d_]{{1,4}})?\s*(?P<close>\))?\s*"
    )


def read_numbers(text, decimal) -> Numbers:
    """Read a column of text as numbers with the given decimal sign.

    Parameters
    ----------
    text : Series of str
        Missing cells are None or NaN.
    decimal : {".", ","}
    """
    held = text.notna()
    plain = pd.Series("", index=text.index, dtype=object)
    if decimal == "." or not text.str.contains(".", regex=False, na=False).any():
        try:  # the fast path: most columns of numbers are in a format that pandas reads
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


class NumberReading(NamedTuple):
    """How one column of text is read.

    Attributes
    ----------
    decimal : str or None
        The decimal sign of its numbers; None if the column does not hold numbers.
    clash : str or None
        Why it cannot be read as it is, naming the row: the text of an error.
    note : str or None
        A remark for the user on how it was read.
    """

    decimal: str | None = None
    clash: str | None = None
    note: str | None = None


def _cell(text, where):
    row = int(np.flatnonzero(np.asarray(where))[0])
    return f"{str(text.iloc[row])!r} in row {row + 1}"


def _clash(text, numbers):
    """Why a column of mostly numbers cannot be read as numbers; None if most are not numbers."""
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
    """Decide for each column of text whether it holds numbers, and with which decimal sign.

    A column that can be read as numbers with one sign only is evidence for that sign. Columns that
    can be read with both, to different numbers ("1,234"), follow the evidence of the others.

    Parameters
    ----------
    columns : dict of str to Series of str
    decimal : {".", ","} or None
        The decimal sign, if known; None infers it.
    sep : str or None
        The delimiter of the file. With ";" a comma may well be a decimal sign.

    Returns
    -------
    dict of str to NumberReading
    """
    found, unclear = {}, {}
    for name, text in columns.items():
        read = {sign: read_numbers(text, sign) for sign in _possible(text, decimal)}
        complete = [sign for sign, numbers in read.items() if numbers.complete]
        if decimal is not None and complete and decimal not in complete:
            clash = f"numbers with the decimal sign {complete[0]!r}, against --decimal {decimal}"
            found[name] = NumberReading(clash=clash)
        elif len(complete) == 2 and not read["."].values.equals(read[","].values):
            unclear[name] = text
        elif complete:
            found[name] = NumberReading(complete[0] if decimal is None else decimal)
        else:
            clashes = [_clash(text, numbers) for numbers in read.values()]
            found[name] = NumberReading(clash=next((c for c in clashes if c), None))
    proved = _proved(found, columns)
    if decimal is None and "," in proved:  # "1.234" in other columns may then mean 1234
        points = [name for name in found if found[name].decimal == "."]
        unclear |= {
            name: columns[name] for name in points
            if _has_sign(columns[name]) and read_numbers(columns[name], ",").complete
        }
        proved = _proved({n: r for n, r in found.items() if n not in unclear}, columns)
    return found | {name: _unclear(text, proved, sep, decimal) for name, text in unclear.items()}


def _possible(text, decimal):
    """The decimal signs to try: both if there is a comma or the sign is given, else the point."""
    comma = text.str.contains(",", regex=False, na=False).any()
    return (".", ",") if comma or decimal is not None else (".",)


def _has_sign(text):
    return text.str.contains(r"[.,]\d", na=False).any()


def _proved(found, columns):
    """The decimal signs for which some column is evidence: it has a sign, and one reading only."""
    return {r.decimal for name, r in found.items() if r.decimal and _has_sign(columns[name])}


def _unclear(text, proved, sep, decimal):
    """The reading of a column that can be read with both decimal signs."""
    if decimal is not None:
        return NumberReading(decimal)
    example = _cell(text, text.str.contains(r"[.,]\d", na=False))
    if len(proved) == 1:
        return NumberReading(next(iter(proved)))
    if proved or sep == ";":
        return NumberReading(
            clash=f"numbers whose decimal sign is not certain, such as {example}: give --decimal"
        )
    note = f"{example} is read with ',' between thousands (--decimal , if not)"
    return NumberReading(".", note=note)
