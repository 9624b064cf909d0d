"""Columns of every type, of one table and of another."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from kbo import tabular


def text(*cells):
    return pd.Series(list(cells), dtype=object, name="x")


def test_columns_of_every_type():
    days = [datetime.date(2020, 1, k + 11) for k in range(4)]
    frame = pd.DataFrame({
        "decimal": [Decimal("1.5"), Decimal("2"), None, Decimal("-3.25")],
        "day": days, "stamp": pd.to_datetime(days), "when": [f"{d:%d/%m/%Y}" for d in days],
        "flag": [True, False, True, True], "maybe": [True, None, False, True],
        "span": pd.to_timedelta([1, 2, 3, 4], "s"), "kind": pd.Categorical(["1", "2", "1", "2"]),
        "count": pd.array([1, None, 3, 4], dtype="Int64"), "word": ["a", "b", "?", None],
    })
    columns = tabular.Columns().fit(frame)
    read = columns.transform(frame)
    assert columns.of_kind("number") == ["decimal", "span", "count"]
    assert columns.of_kind("date") == ["day", "stamp", "when"]
    assert columns.of_kind("category") == ["flag", "maybe", "kind", "word"]
    np.testing.assert_array_equal(read["decimal"], [1.5, 2, np.nan, -3.25])
    np.testing.assert_array_equal(read["span"], [1.0, 2, 3, 4])
    assert read["when"].tolist() == [pd.Timestamp(d) for d in days]
    assert read["word"].isna().tolist() == [False, False, True, True]
    assert columns.notes_ == []
    early = pd.DataFrame({"when": ["01/02/2020", "03/04/2020"]})
    assert "month first" in tabular.Columns().fit(early).notes_[0]
    with pytest.raises(ValueError, match="'cells' holds lists"):
        tabular.Columns().fit(pd.DataFrame({"cells": [[1], [2]]}))
    with pytest.raises(ValueError, match="word=date: no format"):
        tabular.Columns(types={"word": "date"}).fit(frame)


@pytest.mark.parametrize("endless", [np.inf, -np.inf, "inf", "-Infinity"])
def test_infinities_name_their_column_and_row(endless):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, endless, 2.0]})
    with pytest.raises(ValueError, match="'b' is infinite in row 2"):
        tabular.Columns().fit_transform(frame)


def test_another_table_is_read_in_the_same_way():
    frame = pd.DataFrame({"a": text("1,5", "0,5"), "b": text("x", "y"), "c": text("1", "2")})
    columns = tabular.Columns().fit(frame)
    other = pd.DataFrame({"more": [0], "c": ["7"], "a": ["2.000,5"], "b": ["z"]})
    read = columns.transform(other)
    assert read.columns.tolist() == ["a", "b", "c"]
    assert read.loc[0, "a"] == 2000.5
    assert columns.unseen(read) == {"b": ["z"]}
    with pytest.raises(ValueError, match=r"\['a', 'c'\] are missing"):
        columns.transform(other[["b"]])
    with pytest.raises(ValueError, match="'c' holds numbers, but 'seven' in row 1"):
        columns.transform(other.assign(c="seven"))
