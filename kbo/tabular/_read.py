"""Reading of table files without conversion: cells of a CSV file stay text, headers are kept."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

DELIMITERS = (",", ";", "\t", "|")
PARQUET = (".parquet", ".pq")
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")  # tried in turn; the last one decodes any bytes
SAMPLE = 2**16  # characters from which the delimiter is inferred
OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
ROW_NAMES = "row names"


class Table(NamedTuple):
    """A table as it is in its file.

    Attributes
    ----------
    frame : DataFrame
        All cells are text if the file is text. Repeated column names get suffixes .1, .2, ….
    repeated : dict of str to str
        Maps a name with such a suffix to the name that it repeats.
    sep : str or None
        The delimiter; None for Parquet.
    notes : list of str
        Remarks for the user.
    """

    frame: pd.DataFrame
    repeated: dict
    sep: str | None
    notes: list


def read_table(path, sep=None, encoding=None) -> Table:
    """Read a CSV, TSV or Parquet file.

    Parameters
    ----------
    path : path
        Files ending in .parquet or .pq are Parquet; all others are delimited text, which may be
        compressed (.gz, .bz2, .xz).
    sep : str or None
        The delimiter, or a regular expression of several characters; None infers it.
    encoding : str or None
        None means UTF-16 if the file begins with its byte order mark, and otherwise tries UTF-8,
        then Western European encodings.

    Raises
    ------
    ValueError
        If the file is missing, empty, not a table, or not in the encoding given.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    if path.suffix in PARQUET:
        return _parquet(path)
    encoding, note = _encoding(path, encoding)
    with _open(path, encoding) as file:
        sample = file.read(SAMPLE)
    if not sample.strip():
        raise ValueError(f"{path} is empty")
    if "\0" in sample:
        raise ValueError(f"{path} is not a text file: give CSV or Parquet")
    sep = sniff(sample) if sep is None else _delimiter(sep)
    rows = [row for row in _split(sample, sep) if any(row)]
    if len(sample) == SAMPLE and len(rows) > 2:
        rows.pop()  # the last row of the sample may be incomplete
    header, widths = rows[0], Counter(map(len, rows[1:]))
    width = max(len(header), widths.most_common(1)[0][0] if widths else 0)
    names = _names(header, width, rows[1:])
    try:
        frame = pd.read_csv(
            path, sep=sep, encoding=encoding, header=0, names=list(range(width)), index_col=False,
            dtype=str, keep_default_na=False, skipinitialspace=True,
            engine="python" if len(sep) > 1 else "c",
        )
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} could not be read as CSV with delimiter {sep!r}: {reason}; "
                         "--sep gives another") from error
    table = _named(frame.astype(object), names, sep)
    return table._replace(notes=[note] if note else [])


def _parquet(path):
    try:
        frame = pd.read_parquet(path)
    except (ImportError, ValueError, OSError) as error:
        raise ValueError(f"{path} could not be read as Parquet: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names=ROW_NAMES)
    return _named(frame, [str(c) for c in frame.columns], None)


def _open(path, encoding):
    return OPEN.get(path.suffix, open)(path, "rt", encoding=encoding, newline="")


def _encoding(path, encoding):
    """The encoding, and a note or None, found by decoding the whole file once."""
    with OPEN.get(path.suffix, open)(path, "rb") as file:
        marked = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    for name in (encoding,) if encoding else ("utf-16",) if marked else ENCODINGS:
        try:
            with _open(path, name) as file:
                while file.read(SAMPLE):
                    pass
        except UnicodeError as error:
            if encoding:
                raise ValueError(f"--encoding {encoding} does not fit {path}: {error}") from error
        except LookupError as error:
            raise ValueError(f"--encoding {encoding}: {error}") from error
        else:
            return name, f"{path.name} is no UTF-8: read as {name} (--encoding for another)" if (
                not encoding and name != ENCODINGS[0]) else None
    raise ValueError(f"{path} is not text that can be read: give its --encoding")


def _delimiter(sep):
    """The delimiter that --sep means: a tab may be written as a word, or as a backslash and t."""
    try:
        re.compile(sep)
    except re.error as error:
        if len(sep) > 1:
            raise ValueError(f"--sep {sep!r} is no regular expression: {error}") from error
    if not sep:
        raise ValueError("--sep is empty: give the delimiter, or leave --sep out")
    return {"tab": "\t", "\\t": "\t"}.get(sep, sep)


def _split(sample, sep):
    """The cells of each line, as a list of lists."""
    lines = io.StringIO(sample, newline=None)  # accepts all three kinds of line ends
    if len(sep) > 1:
        return [re.split(sep, line.strip()) for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=sep,
                                                                skipinitialspace=True)]


def sniff(sample) -> str:
    """The most plausible delimiter of a sample of text.

    It splits the header, and then most rows have as many cells as the header (or one more); ties go
    to the delimiter with the most cells.
    """
    def fit(sep):
        widths = [len(row) for row in _split(sample, sep) if any(row)]
        agree = sum(width in (widths[0], widths[0] + 1) for width in widths)
        return (widths[0] > 1, agree / len(widths), widths[0])

    return max(DELIMITERS, key=fit)


def _names(header, width, rows):
    """The column names: the header, and one name more if rows have one cell more than it.

    The additional cell is the last one, empty, if every row ends in a delimiter (its name is None).
    Otherwise it is the first one: a program has written row names without a title.
    """
    if width == len(header):
        return header
    if width > len(header) + 1:
        raise ValueError(f"rows have {width} cells, but the header names {len(header)} columns")
    trailing = all(row[-1] == "" for row in rows if len(row) == width)
    return [*header, None] if trailing else [ROW_NAMES, *header]


def _named(frame, names, sep):
    """The Table with unique column names; a column named None is dropped."""
    taken, unique, repeated = set(names), [], {}
    for k, name in enumerate(names):
        new = name
        if name == "":
            new = f"Unnamed: {k}"
        elif name in unique:
            count = 1
            while (new := f"{name}.{count}") in taken:
                count += 1
            repeated[new] = name
        taken.add(new)
        unique.append(new)
    frame.columns = pd.Index(unique, dtype=object)
    frame = frame.loc[:, [name is not None for name in unique]]
    return Table(frame.reset_index(drop=True), repeated, sep, [])
