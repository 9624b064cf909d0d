"""Numbers as people write them."""

import numpy as np
import pandas as pd
import pytest

from kbo import tabular
from kbo.tabular._numbers import read_numbers, settle_decimals


def text(*cells):
    return pd.Series(list(cells), dtype=object, name="x")


@pytest.mark.parametrize(
    ("decimal", "cell", "value"),
    [
        (".", "1,234.5", 1234.5), (".", "$1,234.00", 1234.0), (".", "-$5", -5.0),
        (".", "(12.5)", -12.5), (".", "1 234", 1234.0), (".", "1\u202f234", 1234.0),
        (".", "1'000'000", 1e6), (".", "5 %", 5.0), (".", "1e5", 1e5), (".", "-.5", -0.5),
        (".", "−3", -3.0), (".", "12 kg", 12.0), (".", "USD 5", 5.0), (".", "5 EUR", 5.0),
        (",", "1.234,5", 1234.5), (",", "1,5", 1.5), (",", "-0,5 €", -0.5), (",", "1.234", 1234.0),
        (".", "16777217.25", 16777217.25),
    ],
)
def test_a_number_as_people_write_it(decimal, cell, value):
    found = read_numbers(text(cell, None), decimal)
    assert found.values[0] == value
    assert np.isnan(found.values[1])
    assert found.complete


@pytest.mark.parametrize(
    ("decimal", "cell"),
    [(".", "1,23"), (".", "0,512"), (".", "1,2,3"), (".", "--3"), (".", "$"), (".", "1.2.3"),
     (".", "(3"), (",", "0.5"), (",", "1.5"), (".", "2024-01-05"), (".", "12a4"), (".", "$5 €")],
)
def test_what_is_no_number(decimal, cell):
    assert read_numbers(text(cell), decimal).odd.all()


@pytest.mark.parametrize(
    ("columns", "settings", "signs"),
    [
        ({"a": ("1,234", "2,500"), "b": ("0,5", "1,5")}, {}, {"a": ",", "b": ","}),
        ({"a": ("1,234", "2,500"), "b": ("0.5", "1.5")}, {}, {"a": ".", "b": "."}),
        ({"a": ("1.234", "2.500"), "b": ("0,5", "1,5")}, {}, {"a": ",", "b": ","}),
        ({"a": ("1,234", "2,500")}, {}, {"a": "."}),
        ({"a": ("1,234", "2,500")}, {"decimal": ","}, {"a": ","}),
        ({"a": ("1,234", "2,500")}, {"sep": ";"}, {"a": None}),
        ({"a": ("1,234", "2,500"), "b": ("0.5",), "c": ("0,5",)}, {}, {"a": None, "b": ".", "c": ","}),
        ({"a": ("1.5", "2.25")}, {"decimal": ","}, {"a": None}),
        ({"a": ("1st", "2nd", "3rd")}, {}, {"a": None}),
        ({"a": ("$5", "3", "2")}, {}, {"a": "."}),
    ],
)
def test_the_decimal_sign_is_the_one_that_fits(columns, settings, signs):
    found = settle_decimals({name: text(*cells) for name, cells in columns.items()}, **settings)
    assert {name: reading.decimal for name, reading in found.items()} == signs


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (("1.5", "2.5", "n/d", "4"), "'n/d' in row 3"), (("1", "2", "3", "3+"), "'3\\+' in row 4"),
        (("5 %", "0.3", "2 %"), "'0.3' in row 2"), (("$5", "€3", "$2"), "'€3' in row 2"),
        (("unknown", "unknown", "unknown", "1.5", "2.5", "3.5"), "'unknown' in row 1"),
        (("1", "2", "5 kg"), "'5 kg' in row 3"),
    ],
)
def test_numbers_with_something_else_among_them_are_refused(cells, row):
    frame = pd.DataFrame({"size": text(*cells)})
    with pytest.raises(ValueError, match=f"'size'.*{row}.*--types"):
        tabular.Columns().fit(frame)
    read = tabular.Columns(types={"size": "number"}).fit_transform(frame)["size"]
    assert read.dtype == float
    assert tabular.Columns(types={"size": "category"}).fit(frame).of_kind("category") == ["size"]
