"""Loading and checking of the table for ``kbo tune``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import tabular
from ._rows import Independent, rows_of
from ._text import say


class Data(NamedTuple):
    """A table ready to be split.

    Attributes
    ----------
    columns : fitted Columns
        The readers of the features.
    X : DataFrame
        The features, as ``columns`` reads them.
    y : ndarray
    classification : bool
    left_out : dict of str to str
        The columns that are not used, and the reason for each.
    remarks : list of str
        What was said about the table.
    rows : Independent, InGroups or InTime
        How the rows hang together.
    """

    columns: tabular.Columns
    X: pd.DataFrame
    y: np.ndarray
    classification: bool
    left_out: dict
    remarks: list
    rows: Independent


def load(args) -> Data:
    """Load the data that the arguments name, printing remarks for the user."""
    if (args.dataset is None) == (args.file is None):
        raise ValueError("give either --dataset NAME or a file with --target COLUMN")
    if args.dataset:
        for option in ("target", "sep", "encoding", "decimal", "drop", "keep", "types", "group",
                       "time"):
            if getattr(args, option):
                raise ValueError(f"--{option} is for a file: --dataset {args.dataset} has no use "
                                 "for it")
        frame, y, classification = tabular.load_bundled(args.dataset)
        if args.task != "auto":
            classification = args.task == "classification"
        print(f"task: {'classification' if classification else 'regression'}")
        columns = tabular.Columns().fit(frame)
        X = columns.transform(frame)
        return Data(columns, X, y, classification, {}, [], Independent())
    if args.target is None:
        raise ValueError("--target COLUMN is needed with a file")
    return _load_file(args)


def _load_file(args):
    found = tabular.read_table(args.file, args.sep, args.encoding)
    frame = found.frame
    for option, names in (("target", [args.target]), ("drop", args.drop), ("keep", args.keep)):
        unknown = [name for name in names if name not in frame.columns]
        if unknown:
            raise ValueError(f"--{option} {unknown[0]}: no such column; {args.file} has "
                             f"{list(frame.columns)}")
    if not len(frame):
        raise ValueError(f"{args.file} has no rows")
    kept = {args.target, args.group, args.time}
    frame = frame.drop(columns=[name for name in args.drop if name not in kept])
    columns = tabular.Columns(args.decimal, dict(args.types), found.sep).fit(frame)
    remarks = [*found.notes, *columns.notes_]
    X = columns.transform(frame)
    y = X.pop(args.target)
    classification, why = tabular.is_classification(y, args.task, frame[args.target])
    rows, divides = rows_of(args, X)
    suspects = tabular.suspects(X, y, found.repeated)
    if divides is not None:
        suspects[divides] = "it says how rows are divided"
    left_out = {name: why for name, why in suspects.items() if name not in args.keep}
    for name, reason in left_out.items():
        remarks.append(f"left out: {name!r}, {reason} (--keep '{name}' uses it)")
    X = X.drop(columns=list(left_out))
    if not X.shape[1]:
        raise ValueError(f"{args.file} has no column to learn from besides the target" + (
            f": left out are {left_out}" if left_out else ""))
    for name, value, row, distance in tabular.outliers(X.assign(**{args.target: y})):
        used = "the target is used as it is" if name == args.target else "it is drawn in"
        remarks.append(
            f"{name!r} is {value:g} in row {row + 1}, {distance:.0f} times as far from the median "
            f"as the middle half of its values is wide: {used}, so mend it if it is an error"
        )
    if divides is None:
        remarks += tabular.hints_of_order(X)
    for name in tabular.made_from_target(X, y):
        remarks.append(
            f"{name!r} divides the target's range without overlap: if it is made from the target, "
            f"--drop '{name}'"
        )
    for remark in remarks:
        say(remark)
    print(f"task: {'classification' if classification else 'regression'} ({why})")
    return Data(columns.only(list(X.columns)), X, _values(y), classification, left_out,
                remarks, rows)


def _values(y):
    """The target as an array of text, of integers if all numbers are whole, or of floats."""
    if not pd.api.types.is_numeric_dtype(y):
        return y.astype(str).to_numpy(object)
    return y.to_numpy(np.int64 if (y == y.round()).all() else float)
