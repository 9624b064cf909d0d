"""The task and its targets."""

import numpy as np
import pandas as pd
import pytest

from kbo import tabular


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
    train, test, note = tabular.split(y, 0.25, 0, True)
    assert "rare" in y[train] and "rare" not in y[test] and "rare" in note
    assert sorted([*train, *test]) == list(range(41))
    assert abs((y[test] == "a").sum() - (y[test] == "b").sum()) <= 1
    many = np.repeat([f"c{k}" for k in range(20)], 2).astype(object)
    assert len(tabular.split(many, 0.25, 0, True)[1]) == 10


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
    names, labels, variables, units = tabular.features(encode)
    assert np.isfinite(values[:, 1:]).all()
    assert values.shape == (60, len(names)) == (60, len(labels))
    assert len(set(names)) == len(names)
    members = {v: {n for n, k in zip(names, labels, strict=True) if variables[k] == v} for v in variables}
    assert members["cat"] == {"cat_a (2)", "cat_b", "cat_c"}
    assert members["cat_a"] == {"cat_a"} and members["num"] == {"num"}
    assert members["code"] == {"code_1", "code_2"}
    assert len(members["model"]) == 30  # sixty levels
    assert members["day_month"] == {"day_month"}
    numbers = pd.to_numeric(frame["num"])
    np.testing.assert_allclose(values[:, 0], (numbers - numbers.mean()) / numbers.std(ddof=0))
    assert np.isnan(values[3, 0]) and units[0] == pytest.approx(numbers.std(ddof=0))
    other = read.copy()
    other["cat"] = pd.Categorical(["new"] * 60)
    changed = np.abs(encode.transform(other) - values).max(0) > 0
    assert {n for n, c in zip(names, changed, strict=True) if c} == members["cat"]
