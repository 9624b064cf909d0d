"""Columns of text that are perhaps no categories, but numbers, dates or names of the rows."""

from __future__ import annotations

import re

from ...status import warn_explained

MOST = 0.9  # share of the levels, or of the rows, from which on a column is suspicious
FEW = 10  # levels that are looked at without suspicion
NUMBER = re.compile(r"[-+−]?[$€£¥]?\s*\d[\d,. ]*\s*%?")
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?")


def warn_of_text(name, levels, stacklevel):
    """Give a UserWarning if a column that is taken as a category looks like something else.

    Parameters
    ----------
    name : str
    levels : ndarray (n,) of object
        Texts, None where a cell is missing.
    """
    known = [level for level in levels if level is not None]
    apart = set(known)
    if len(apart) <= FEW:
        return
    looks = {
        "dates": ("by pandas.to_datetime", _share(DATE, apart)),
        "numbers": ("by pandas.to_numeric", _share(NUMBER, apart)),
    }
    for kind, (remedy, share) in looks.items():
        if share >= MOST:
            text = f"{kind} written as text: convert it {remedy}"
            break
    else:
        if len(apart) < MOST * len(known):
            return
        text = "names of the rows: leave it out"
    warn_explained(
        f"column {name!r} is taken as a category of {len(apart)} levels, and looks like {text}; if "
        "it is meant to be a category, make it a pandas Categorical",
        UserWarning, stacklevel=stacklevel + 1,
    )


def _share(pattern, levels):
    return sum(pattern.fullmatch(level.strip()) is not None for level in levels) / len(levels)
