"""Encoding of typed columns as numbers for a kernel, and which of these belong together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

MANY_LEVELS = 40  # a category with at least this many levels is encoded by their text


def encoder(columns):
    """A transformer of the columns that ``Columns`` reads.

    Numbers are standardised, in float64. The others are encoded by skrub's TableVectorizer:
    categories are one-hot, where missing is a level of its own; text with many levels becomes 30
    numbers by its character n-grams; dates become year, month, day and the time since 1970. Missing
    numbers and dates stay missing: kbo's estimators tell these rows apart.

    Parameters
    ----------
    columns : fitted Columns
    """
    parts = [("numbers", StandardScaler(), columns.of_kind("number"))]
    rest = columns.of_kind("category") + columns.of_kind("date")
    if rest:
        from skrub import DatetimeEncoder, StringEncoder, TableVectorizer  # slow to import (1 s)

        vectorizer = TableVectorizer(
            cardinality_threshold=MANY_LEVELS,
            low_cardinality=OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            high_cardinality=StringEncoder(random_state=0),
            datetime=make_pipeline(DatetimeEncoder(), StandardScaler()),
        )
        parts.append(("others", vectorizer, rest))
    return ColumnTransformer(parts, verbose_feature_names_out=False)


class Features(NamedTuple):
    """Description of a fitted encoder's outputs.

    Attributes
    ----------
    names : list of str
        Unique names of the outputs.
    labels : ndarray of int
        All levels of a category, and all numbers made from a text, have the same label; each number
        and each part of a date has its own.
    variables : list of str
        For each label, the name of the variable that it stands for.
    units : ndarray of float
        What 1 in an output is worth: for a number and for a part of a date the standard deviation
        by which it was divided, 1 for a level of a category and for a number made from a text.
    """

    names: list
    labels: np.ndarray
    variables: list
    units: np.ndarray


def features(encode) -> Features:
    """The Features of a fitted encoder."""
    names = list(encode.transformers_[0][2])
    sources = list(names)
    units = list(encode.named_transformers_["numbers"].scale_) if names else []
    if "others" in encode.named_transformers_:
        vectorizer = encode.named_transformers_["others"]
        dates = set(vectorizer.kind_to_columns_["datetime"])
        of_dates = {
            name: scale for date in dates for name, scale in zip(
                vectorizer.input_to_outputs_[date], vectorizer.transformers_[date][-1].scale_,
                strict=True)
        }
        for output in vectorizer.all_outputs_:
            source = vectorizer.output_to_input_[output]
            name = output.partition("__skrub_")[0]  # skrub's suffix of names that are taken
            names.append(name)
            sources.append((name, source) if source in dates else (source,))
            units.append(of_dates.get(output, 1.0))
    label = {source: k for k, source in enumerate(dict.fromkeys(sources))}
    variables = [source if isinstance(source, str) else source[0] for source in label]
    return Features(_unique(names), np.array([label[s] for s in sources]),
                    _unique(variables), np.array(units))


def _unique(names):
    """The names, made unique by the suffixes " (2)", " (3)", …."""
    seen, unique = set(), []
    for name in names:
        new, count = name, 1
        while new in seen:
            count += 1
            new = f"{name} ({count})"
        seen.add(new)
        unique.append(new)
    return unique
