"""Tables as people write them: numbers, delimiters, encodings, headers, suspicious columns."""

import datetime
import gzip
from decimal import Decimal

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


PLAIN = "a,b,y\n1.5,x,2\n2.5,z,3\n-1,x,4\n"


@pytest.mark.parametrize(
    ("content", "settings", "sep"),
    [
        (PLAIN, {}, ","), (PLAIN.replace(",", ";"), {}, ";"), (PLAIN.replace(",", "\t"), {}, "\t"),
        (PLAIN.replace(",", "|"), {}, "|"), (PLAIN.replace(",", " , "), {}, ","),
        (PLAIN.replace(",", ";").replace(".", ","), {}, ";"),
        ("\ufeff" + PLAIN, {}, ","), (PLAIN.replace("\n", ",\n").replace("y,", "y"), {}, ","),
        (PLAIN.replace(",", ":"), {"sep": ":"}, ":"), (PLAIN.replace(",", "   "), {"sep": r"\s+"}, r"\s+"),
        (PLAIN.replace(",", "\t"), {"sep": "tab"}, "\t"),
        ("\n\n" + PLAIN, {}, ","), (PLAIN.replace("\n", "\r\n"), {}, ","),
        (PLAIN.replace("\n", "\r").replace(",", ";"), {}, ";"),
    ],
)
def test_delimiters_are_found(tmp_path, content, settings, sep):
    path = tmp_path / "t.csv"
    path.write_text(content, newline="")
    table = tabular.read_table(path, **settings)
    assert table.sep == sep
    read = tabular.Columns(sep=table.sep).fit_transform(table.frame)
    assert read.columns.tolist() == ["a", "b", "y"]
    assert read["a"].tolist() == [1.5, 2.5, -1.0]
    assert read["b"].tolist() == ["x", "z", "x"]


@pytest.mark.parametrize(
    ("encoding", "given"),
    [("utf-8", None), ("latin-1", None), ("cp1252", None), ("utf-16", None), ("cp437", "cp437")],
)
def test_encodings(tmp_path, encoding, given):
    path = tmp_path / "t.csv"
    path.write_bytes("größe,y\n1,ä\n".encode(encoding))
    table = tabular.read_table(path, encoding=given)
    assert table.frame.columns.tolist() == ["größe", "y"]
    assert table.frame["y"].tolist() == ["ä"]
    assert bool(table.notes) == (given is None and encoding != "utf-8")


def test_headers_that_are_no_names(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b',y,"a\nb",y,a $x$,y.1\n1,2,3,4,5,6\n'))
    table = tabular.read_table(path)
    assert table.frame.columns.tolist() == ["Unnamed: 0", "y", "a\nb", "y.2", "a $x$", "y.1"]
    assert table.repeated == {"y.2": "y"}
    path = tmp_path / "rows.csv"  # as R's write.table does it
    path.write_text("a,y\nr1,1,2\nr2,3,4\n")
    assert tabular.read_table(path).frame.columns.tolist() == ["row names", "a", "y"]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"", {}, "empty"), (b"a,b\n1,2\n1,2,3,4\n", {}, "could not be read"),
        (b"a\0b,c\n", {}, "not a text file"), ("größe\n1\n".encode("latin-1"), {"encoding": "utf-8"}, "encoding"),
        (b"a,b\n", {"encoding": "utf-9"}, "utf-9"), (b"a,b\n1,2\n", {"sep": ""}, "--sep is empty"),
        (b"a,b\n1,2\n", {"sep": "(("}, "no regular expression"),
        (b"a,b\n1,2,3,4\n5,6,7,8\n", {}, "rows have 4 cells"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, settings, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        tabular.read_table(path, **settings)


def suspicious():
    rng = np.random.default_rng(0)
    n = 60
    y = pd.Series(rng.normal(size=n), name="y")
    gaps = np.sort(rng.choice(100, n, replace=False))
    population = rng.choice(10**6, n, replace=False)
    frame = pd.DataFrame({
        "Unnamed: 0": np.arange(n), "shuffled": rng.permutation(n) + 1000, "gaps": gaps,
        "PatientID": population, "uuid": [f"{k:x}" for k in rng.choice(10**9, n, replace=False)],
        "floats": np.arange(n) * 1.0, "cents": 100 * y + 5, "log": np.log(y + 10), "minus": -y,
        "constant": 3.0, "empty": np.nan, "y.1": rng.normal(size=n),
        # and what is none of these:
        "population": population[::-1], "x": rng.normal(size=n), "age": rng.integers(20, 80, n),
        "noisy": y + 1e-3 * rng.normal(size=n), "colour": rng.choice(["r", "g"], n),
        "valid": rng.normal(size=n), "name": [f"n{k}" for k in rng.integers(0, 40, n)],
    })
    columns = tabular.Columns().fit(frame)
    return columns.transform(frame), y


def test_identifiers_copies_and_constants_are_named():
    frame, y = suspicious()
    found = tabular.suspects(frame, y, {"y.1": "y"})
    expected = frame.columns[: frame.columns.get_loc("population")]
    assert list(found) == list(expected)
    for name, reason in {"gaps": "numbers the rows", "PatientID": "identifier", "uuid": "tells",
                         "cents": "copy", "minus": "copy", "constant": "same", "empty": "empty",
                         "y.1": "more than once"}.items():
        assert reason in found[name]


@pytest.mark.parametrize("numeric", [True, False])
def test_a_copy_of_classes_is_one_whatever_it_is_called(numeric):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 60)
    y = pd.Series(np.array(["a", "b", "c"])[codes]).astype("category")
    copy = pd.Series(codes * 1.5) if numeric else pd.Series(np.array(["X", "Y", "Z"])[codes]).astype("category")
    near = copy.copy()
    near[0] = near[codes != codes[0]].iloc[0]
    found = tabular.suspects(pd.DataFrame({"copy": copy, "near": near}), y, {})
    assert list(found) == ["copy"]


def test_columns_made_from_the_target():
    rng = np.random.default_rng(0)
    y = pd.Series(rng.normal(size=60))
    frame = pd.DataFrame({
        "over": (y > 0.3).astype(float), "rounded": y.round(), "x": rng.normal(size=60),
        "band": pd.cut(y, 4, labels=list("dcba")), "flag": rng.integers(0, 2, 60),
    })
    assert tabular.made_from_target(frame, y) == ["over", "rounded", "band"]
    assert tabular.made_from_target(frame, pd.Series(rng.integers(0, 2, 60))) == []


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (np.arange(60) % 16, False), (np.arange(60) % 2, True), (np.arange(60) % 2 + 0.5, True),
        (np.linspace(0, 1, 60), False), (np.repeat(["a", "b", "c"], 20), True),
    ],
)
def test_the_task_is_chosen_and_said(values, classes):
    y = pd.Series(values, name="y")
    y = y.astype("category") if y.dtype.kind not in "fi" else y
    found, why = tabular.is_classification(y, "auto", y)
    assert found == classes
    assert "different values" in why
    if y.dtype.kind in "fi":
        other = "regression" if classes else "classification"
        assert f"--task {other}" in why


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (np.full(20, 3.0), "auto", "same value"), ([1.0, np.nan, 2.0], "auto", r"row 2 \('\?'\)"),
        (["a", "b"] * 9, "regression", "text"), ([f"t{k}" for k in range(20)], "auto", "too many"),
        (np.arange(20.0), "classification", "too many"), (pd.date_range("2020", periods=9), "auto", "dates"),
    ],
)
def test_targets_that_are_none(values, task, message):
    y = pd.Series(values, name="y")
    y = y if y.dtype.kind in "fM" else y.astype("category")
    with pytest.raises(ValueError, match=message):
        tabular.is_classification(y, task, y.astype(object).where(y.notna(), "?"))


def test_classes_of_one_row_are_trained_on():
    y = np.array(["a"] * 20 + ["b"] * 20 + ["rare"], dtype=object)
    X = pd.DataFrame({"x": np.arange(41.0)})
    X_train, X_test, y_train, y_test, note = tabular.split(X, y, 0.25, 0, True)
    assert "rare" in y_train and "rare" not in y_test and "rare" in note
    assert sorted(X_train["x"].tolist() + X_test["x"].tolist()) == list(range(41))
    assert abs((y_test == "a").sum() - (y_test == "b").sum()) <= 1
    many = np.repeat([f"c{k}" for k in range(20)], 2).astype(object)
    assert len(tabular.split(X[:40], many, 0.25, 0, True)[1]) == 10


def mixed(n=60):
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "num": np.where(np.arange(n) == 3, "", rng.normal(size=n).astype(str)),
        "cat": rng.choice(["a", "b", "c"], n), "cat_a": rng.normal(size=n).astype(str),
        "day": [f"2020-{k % 12 + 1:02d}-{k % 28 + 1:02d}" for k in range(n)],
        "model": [f"model {k} {'xy'[k % 2]}" for k in rng.permutation(n)],
        "code": rng.choice(["1", "2"], n),
    })


def test_outputs_of_one_variable_share_a_label_and_no_two_a_name():
    frame = mixed()
    columns = tabular.Columns(types={"code": "category"}).fit(frame)
    read = columns.transform(frame)
    encode = tabular.encoder(columns).fit(read)
    values = encode.transform(read)
    names, labels, variables = tabular.features(encode)
    assert np.isfinite(values).all()
    assert values.shape == (60, len(names)) == (60, len(labels))
    assert len(set(names)) == len(names)
    members = {v: {n for n, k in zip(names, labels, strict=True) if variables[k] == v} for v in variables}
    assert members["cat"] == {"cat_a (2)", "cat_b", "cat_c"}
    assert members["cat_a"] == {"cat_a"} and members["num"] == {"num"}
    assert members["code"] == {"code_1", "code_2"}
    assert len(members["model"]) == 30  # sixty levels
    assert members["day_month"] == {"day_month"}
    numbers = pd.to_numeric(frame["num"])
    filled = numbers.fillna(numbers.median())
    np.testing.assert_allclose(values[:, 0], (filled - filled.mean()) / filled.std(ddof=0))
    other = read.copy()
    other["cat"] = pd.Categorical(["new"] * 60)
    changed = np.abs(encode.transform(other) - values).max(0) > 0
    assert {n for n, c in zip(names, changed, strict=True) if c} == members["cat"]
