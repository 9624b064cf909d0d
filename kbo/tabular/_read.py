"""Files of tables, read as they are: every cell of a CSV file stays text, every header stays."""

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
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")  # the last one reads any bytes
SAMPLE = 2**16  # characters from which the delimiter is found
OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
ROW_NAMES = "row names"


class Table(NamedTuple):
    """A table as its file has it.

    Attributes
    ----------
    frame : DataFrame
        Text where the file is text. Names that are repeated end in .1, .2, ….
    repeated : dict of str to str
        Such a name to the one it repeats.
    sep : str or None
        The delimiter; None for Parquet.
    notes : list of str
        What a user should know.
    """

    frame: pd.DataFrame
    repeated: dict
    sep: str | None
    notes: list


def read_table(path, sep=None, encoding=None) -> Table:
    """A CSV, TSV or Parquet file.

    Parameters
    ----------
    path : path
        A name that ends in .parquet or .pq is Parquet, any other is delimited text, which may be
        compressed (.gz, .bz2, .xz).
    sep : str or None
        The delimiter, or a regular expression of several characters; None finds it.
    encoding : str or None
        None tries UTF-8 (and UTF-16, if the file says so), then Western European ones.

    Raises
    ------
    ValueError
        If the file is missing, empty, no table, or in another encoding than the one given.
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
        rows.pop()  # cut off in its middle
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
    """(the encoding, what to say of it), after reading the file once."""
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
    """What --sep says, in words or as a regular expression."""
    try:
        re.compile(sep)
    except re.error as error:
        if len(sep) > 1:
            raise ValueError(f"--sep {sep!r} is no regular expression: {error}") from error
    if not sep:
        raise ValueError("--sep is empty: give the delimiter, or leave --sep out")
    return {"tab": "\t", "\\t": "\t"}.get(sep, sep)


def _split(sample, sep):
    """The cells of each line."""
    lines = io.StringIO(sample, newline=None)  # lines end in any of the three ways
    if len(sep) > 1:
        return [re.split(sep, line.strip()) for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=sep,
                                                                skipinitialspace=True)]


def sniff(sample) -> str:
    """The delimiter under which most rows have as many cells as the header, and the most cells."""
    def fit(sep):
        widths = [len(row) for row in _split(sample, sep) if any(row)]
        agree = sum(width in (widths[0], widths[0] + 1) for width in widths)
        return (widths[0] > 1, agree / len(widths), widths[0])

    return max(DELIMITERS, key=fit)


def _names(header, width, rows):
    """The header, with a name more where rows have a cell more.

    That cell is the first one where a program wrote the names of rows without a title; where every
    row ends in a delimiter, it is the last and empty.
    """
    if width == len(header):
        return header
    if width > len(header) + 1:
        raise ValueError(f"rows have {width} cells, but the header names {len(header)} columns")
    trailing = all(row[-1] == "" for row in rows if len(row) == width)
    return [*header, None] if trailing else [ROW_NAMES, *header]


def _named(frame, names, sep):
    """The frame under names that are unique; a column of no name and no contents goes."""
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
