"""The target: whether it is numbers or classes, and the split into training and test rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split


def is_classification(y, task, written):
    """Whether the target's values are classes, and a text that says why and how to change it.

    Text, flags and numbers with two different values are classes. Whole numbers with more values
    may be counts or measurements as well as codes of classes, and are taken as numbers.

    Parameters
    ----------
    y : Series
        The target, as ``Columns`` reads it.
    task : {"auto", "regression", "classification"}
    written : Series
        The same column as it is written in the file.

    Raises
    ------
    ValueError
        For missing values, dates, regression on text, a constant target, or classes with fewer
        than two rows each on average.
    """
    values, name = y.nunique(), y.name
    missing = np.flatnonzero(y.isna())
    if len(missing):
        raise ValueError(
            f"--target {name} has {len(missing)} missing values, the first in row {missing[0] + 1} "
            f"({str(written.iloc[missing[0]])!r}): drop those rows"
        )
    if pd.api.types.is_datetime64_any_dtype(y):
        raise ValueError(f"--target {name} holds dates: give numbers, such as days since the first")
    numeric = pd.api.types.is_numeric_dtype(y)
    if values < 2:
        raise ValueError(f"--target {name}: all rows have the same value, nothing can be learnt")
    if task == "regression" and not numeric:
        raise ValueError(
            f"--task regression: --target {name} holds text, such as {str(y.iloc[0])!r}; "
            f"--types '{name}=number' counts what is no number as missing"
        )
    classes = task == "classification" or (task == "auto" and (not numeric or values == 2))
    if classes and values > len(y) / 2:
        raise ValueError(
            f"--target {name} has {values} different values in {len(y)} rows, too many for "
            "classes" + ("; --task regression" if numeric else "")
        )
    if task != "auto":
        return classes, "as --task says"
    kind = "numbers" if numeric else "text"
    if numeric and (y == y.round()).all():
        kind = "whole numbers"
    other = "regression" if classes else "classification"
    how = f"; --task {other} for the other" if numeric else ""
    return classes, f"{name} holds {values} different values, {kind}{how}"


def split(y, test_size, seed, classification):
    """(places of training rows, places of test rows, note or None), stratified by class.

    Classes with a single row go to training, which the note says. If there are more classes than
    test rows or than training rows, the split is not stratified.
    """
    stratify, note, alone = None, None, np.zeros(len(y), bool)
    if classification:
        values, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        alone = (counts == 1)[codes]
        if alone.any():
            single = values[counts == 1].tolist()
            note = f"classes of one row, trained on and never tested: {single}"
        rest = codes[~alone]
        tested = int(np.ceil(test_size * len(rest)))
        if min(tested, len(rest) - tested) >= len(np.unique(rest)):
            stratify = rest
    rows = np.arange(len(y))
    train, test = train_test_split(
        rows[~alone], test_size=test_size, random_state=seed, stratify=stratify
    )
    return np.concatenate([train, rows[alone]]), test, note
