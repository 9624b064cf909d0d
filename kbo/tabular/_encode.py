"""Typed columns to the numbers that a kernel sees, and which of them belong together."""

from __future__ import annotations

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

MANY_LEVELS = 40  # from here on a category is encoded by the letters of its levels


def encoder(columns):
    """A transformer of what ``Columns`` reads.

    Numbers are scaled, and their gaps filled by the median, in float64. The rest is skrub's
    TableVectorizer's: categories are one-hot, a missing one being a level of its own; text of
    many levels becomes 30 numbers, by the groups of letters in it; dates become year, month, day
    and the time since 1970.

    Parameters
    ----------
    columns : fitted Columns
    """
    from skrub import DatetimeEncoder, StringEncoder, TableVectorizer

    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    parts = [("numbers", scaled, columns.of_kind("number"))]
    rest = columns.of_kind("category") + columns.of_kind("date")
    if rest:
        vectorizer = TableVectorizer(
            cardinality_threshold=MANY_LEVELS,
            low_cardinality=OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            high_cardinality=StringEncoder(random_state=0),
            datetime=make_pipeline(
                DatetimeEncoder(), SimpleImputer(strategy="median"), StandardScaler()
            ),
        )
        parts.append(("others", vectorizer, rest))
    return ColumnTransformer(parts, verbose_feature_names_out=False)


def features(encode):
    """Names of a fitted encoder's outputs, no two alike, and the labels of those that are one.

    Returns
    -------
    names : list of str
    labels : ndarray of int
        All levels of a category, and all numbers made of a text, have the same label; numbers and
        the parts of a date have one each.
    """
    names, sources = list(encode.transformers_[0][2]), list(encode.transformers_[0][2])
    if "others" in encode.named_transformers_:
        vectorizer = encode.named_transformers_["others"]
        dates = set(vectorizer.kind_to_columns_["datetime"])
        for name in vectorizer.all_outputs_:
            source = vectorizer.output_to_input_[name]
            sources.append((source, name) if source in dates else (source,))
            names.append(name.partition("__skrub_")[0])
    label = {source: k for k, source in enumerate(dict.fromkeys(sources))}
    return _unique(names), np.array([label[source] for source in sources])


def _unique(names):
    """The names, with " (2)", " (3)", … where one has been there already."""
    seen, unique = set(), []
    for name in names:
        new, count = name, 1
        while new in seen:
            count += 1
            new = f"{name} ({count})"
        seen.add(new)
        unique.append(new)
    return unique
