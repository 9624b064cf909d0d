"""Typed columns to the numbers that a kernel sees, and which of them belong together."""

from __future__ import annotations

from typing import NamedTuple

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
    parts = [("numbers", make_pipeline(*_filled_and_scaled()), columns.of_kind("number"))]
    rest = columns.of_kind("category") + columns.of_kind("date")
    if rest:
        from skrub import DatetimeEncoder, StringEncoder, TableVectorizer  # a second to import

        vectorizer = TableVectorizer(
            cardinality_threshold=MANY_LEVELS,
            low_cardinality=OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            high_cardinality=StringEncoder(random_state=0),
            datetime=make_pipeline(DatetimeEncoder(), *_filled_and_scaled()),
        )
        parts.append(("others", vectorizer, rest))
    return ColumnTransformer(parts, verbose_feature_names_out=False)


def _filled_and_scaled():
    return SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()


class Features(NamedTuple):
    """What a fitted encoder's outputs are.

    Attributes
    ----------
    names : list of str
        No two alike.
    labels : ndarray of int
        All levels of a category, and all numbers made of a text, have the same label; numbers and
        the parts of a date have one each.
    variables : list of str
        The name of what each label stands for.
    """

    names: list
    labels: np.ndarray
    variables: list


def features(encode) -> Features:
    """The outputs of a fitted encoder."""
    names = list(encode.transformers_[0][2])
    sources = list(names)
    if "others" in encode.named_transformers_:
        vectorizer = encode.named_transformers_["others"]
        dates = set(vectorizer.kind_to_columns_["datetime"])
        for output in vectorizer.all_outputs_:
            source = vectorizer.output_to_input_[output]
            name = output.partition("__skrub_")[0]  # added to a name that is there already
            names.append(name)
            sources.append((name, source) if source in dates else (source,))
    label = {source: k for k, source in enumerate(dict.fromkeys(sources))}
    variables = [source if isinstance(source, str) else source[0] for source in label]
    return Features(_unique(names), np.array([label[s] for s in sources]), _unique(variables))


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
