"""Tables for the command line: bundled data sets, CSV and Parquet files, encoded columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

BUNDLED = {
    "diabetes": (datasets.load_diabetes, False),
    "linnerud": (datasets.load_linnerud, False),
    "breast_cancer": (datasets.load_breast_cancer, True),
    "digits": (datasets.load_digits, True),
    "iris": (datasets.load_iris, True),
    "wine": (datasets.load_wine, True),
}
CLASSES_AT_MOST = 20  # an integer target with more distinct values is a regression target


def load_bundled(name):
    """A scikit-learn data set as (X frame, y array, whether it is classification)."""
    loader, classification = BUNDLED[name]
    bunch = loader()
    columns = [str(c) for c in bunch.feature_names]
    return pd.DataFrame(bunch.data, columns=columns), np.asarray(bunch.target), classification


def load_file(path, target):
    """A CSV or Parquet file as (X frame, y array, whether it is classification).

    Raises
    ------
    ValueError
        If the file cannot be read, lacks the target column, or the target has missing values.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    reader = pd.read_parquet if path.suffix in (".parquet", ".pq") else pd.read_csv
    try:
        table = reader(path)
    except (ImportError, ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path} could not be read as {reader.__name__[5:]}: {error}") from error
    table.columns = [str(c) for c in table.columns]
    if target not in table:
        raise ValueError(f"--target {target}: no such column; {path} has {list(table.columns)}")
    missing = int(table[target].isna().sum())
    if missing:
        raise ValueError(f"--target {target} has {missing} missing values: drop those rows")
    if table.shape[1] < 2:
        raise ValueError(f"{path} has no column besides the target")
    y = table.pop(target)
    flags = table.select_dtypes(bool).columns
    table[flags] = table[flags].astype(str)  # categories to the encoder, not numbers
    numeric = pd.api.types.is_numeric_dtype(y) and not pd.api.types.is_bool_dtype(y)
    few = y.nunique() <= CLASSES_AT_MOST
    whole = numeric and bool((y == y.round()).all())
    return table, y.to_numpy(), bool(not numeric or (whole and few and y.nunique() < len(y) / 5))


def encoder(X, missing):
    """A transformer of the frame's columns: numbers scaled, categories one-hot, gaps filled.

    Parameters
    ----------
    X : DataFrame
    missing : {"impute", "refuse"}

    Raises
    ------
    ValueError
        With "refuse", naming the columns that have missing values; always, for a column that
        has nothing else.
    """
    gaps = {c: int(k) for c, k in X.isna().sum().items() if k}
    empty = [c for c, k in gaps.items() if k == len(X)]
    if empty:
        raise ValueError(f"columns {empty} hold no values at all: remove them")
    if gaps and missing == "refuse":
        raise ValueError(f"missing values per column: {gaps}; fill them, or use --missing impute")
    is_number = lambda c: pd.api.types.is_numeric_dtype(X[c]) and X[c].dtype != bool  # noqa: E731
    numbers = [c for c in X.columns if is_number(c)]
    categories = [c for c in X.columns if not is_number(c)]
    return ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            (
                "category",
                make_pipeline(
                    SimpleImputer(strategy="most_frequent"),
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                ),
                categories,
            ),
        ],
        verbose_feature_names_out=False,
    )
