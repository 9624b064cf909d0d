"""Rows that belong together, and rows in time: no part of the command divides them otherwise."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_classifier
from sklearn.model_selection import TimeSeriesSplit

from kbo import tabular
from kbo.cli import main
from kbo.cli._check import errors_left_out
from kbo.cli._rows import Independent, InGroups, InTime
from kbo.estimators import KernelBilevelRegressor

rng = np.random.default_rng(0)
PEOPLE = np.repeat(np.arange(40), 8)
LEVEL = rng.normal(size=40)[PEOPLE]
TABLE = pd.DataFrame({
    "patient": [f"p{k}" for k in PEOPLE], "height": LEVEL + 0.01 * rng.normal(size=320),
    "dose": rng.normal(size=320),
})
TABLE["effect"] = 1.5 * rng.normal(size=40)[PEOPLE] + np.sin(TABLE["dose"])
TABLE["ill"] = np.where(TABLE["effect"] > 0, "yes", "no")


def run(table, *options, folder):
    table.to_csv(folder / "t.csv", index=False)
    done = main(["tune", str(folder / "t.csv"), *options, "--quiet", "--max-iter", "3",
                 "--output", str(folder)])
    assert done == 0
    return json.loads((folder / "report.json").read_text())


def test_groups_are_whole_on_both_sides_of_every_division(tmp_path, capsys, monkeypatch):
    divided = []
    monkeypatch.setattr(KernelBilevelRegressor, "fit", recording(KernelBilevelRegressor.fit, divided))
    loose = run(TABLE.drop(columns="ill"), "--target", "effect", "--no-check", folder=tmp_path)
    assert "--group 'patient' divides them so" in " ".join(loose["remarks"])
    assert divided and not any(options for _, options in divided)
    divided.clear()
    report = run(TABLE.drop(columns="ill"), "--target", "effect", "--group", "patient", "--compare",
                 folder=tmp_path)
    assert report["score"] < 0.5 < loose["score"]  # the first says what new people bring
    assert report["left_out"] == {"patient": "it says how rows are divided"}
    assert "10 of 40 groups are held out" in capsys.readouterr().err
    sizes = {count for _, options in divided
             for count in np.unique(options["groups"], return_counts=True)[1]}
    assert sizes == {8}
    model = joblib.load(tmp_path / "model.joblib")["model"]
    assert model._samples[3] is not None  # intervals are those of new groups


def recording(fit, divided):
    def wrapped(self, X, y, sample_weight=None, **options):
        divided.append((len(X), options))
        return fit(self, X, y, sample_weight, **options)

    return wrapped


def test_classes_in_groups(tmp_path):
    report = run(TABLE.drop(columns="effect"), "--target", "ill", "--group", "patient", folder=tmp_path)
    assert report["test_error"] == "log-loss" and 0 < report["without_features"]["error"] < 1
    assert is_classifier(joblib.load(tmp_path / "model.joblib"))


def test_later_rows_are_tested_on_models_of_earlier_ones(tmp_path, capsys):
    days = pd.date_range("2020-01-01", periods=200)
    table = pd.DataFrame({"day": days, "x": rng.normal(size=200)})
    table["y"] = np.cumsum(rng.normal(size=200)) + table["x"]
    loose = run(table, "--target", "y", "--no-check", folder=tmp_path)
    assert "rows are in the order of 'day'" in " ".join(loose["remarks"])
    mixed = table.sample(frac=1, random_state=0)
    report = run(mixed, "--target", "y", "--time", "day", folder=tmp_path)
    assert report["score"] < 0.5 < loose["score"]
    assert "the last rows in time are held out" in capsys.readouterr().err
    for options, count in (([], 5), (["--cv", "3"], 3)):
        report = run(mixed, "--target", "y", "--time", "day", "--no-check", *options, folder=tmp_path)
        folds = joblib.load(tmp_path / "model.joblib")["model"].cv
        assert isinstance(folds, TimeSeriesSplit) and folds.n_splits == count
        assert report["divided"] == "in the order of time"
    rows = InTime(mixed["day"].to_numpy())
    train, test, _ = rows.split(np.zeros(200), 0.25, 0, False)
    assert rows.times[train].max() < rows.times[test].min() and len(test) == 50


def test_the_nested_check_divides_rows_as_they_belong_together():
    y = TABLE["effect"].to_numpy()
    X = np.column_stack([TABLE["dose"], LEVEL])
    models = {"one": KernelBilevelRegressor("gaussian", tune=(), lengthscale=0.3, alpha=0.1)}
    loose = errors_left_out(models, X, y, 0, Independent())["one"]
    grouped = errors_left_out(models, X, y, 0, InGroups(PEOPLE))["one"]
    assert grouped > 1.3 * loose
    times = rng.permutation(np.repeat(np.arange(40), 8))  # eight rows of each day
    for train, test in InTime(times).divisions(y, 0, False):
        assert times[train].max() < times[test].min()
    train, test, _ = InTime(times).split(y, 0.26, 0, False)
    assert times[train].max() < times[test].min() and abs(len(test) - 80) <= 8


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--group", "patient", "--time", "dose"], "not both"),
        (["--group", "nobody"], "--group nobody: no such column"),
        (["--time", "patient"], "holds text"),
        (["--group", "gap"], "missing in row 3"),
        (["--group", "same"], "at least 3 groups"),
        (["--time", "half"], "fewer than 11 different times"),
        (["--group", "effect"], "is the target"),
    ],
)
def test_what_cannot_divide_rows_is_named(options, named, tmp_path, capsys):
    table = TABLE.assign(gap=["a", "b", None, "a"] * 80, same=1, half=np.arange(320) % 9)
    table.to_csv(tmp_path / "t.csv", index=False)
    assert main(["tune", str(tmp_path / "t.csv"), "--target", "effect", *options]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("groups", [3, 4])
def test_with_few_groups_a_division_that_cannot_be_tuned_on_is_left_out(groups, tmp_path, capsys):
    table = TABLE[TABLE["patient"].isin([f"p{k}" for k in range(groups)])]
    report = run(table.drop(columns="ill"), "--target", "effect", "--group", "patient", "--check", folder=tmp_path)
    assert (report["errors_left_out"] is None) == (groups == 3)
    assert ("it was not checked" in capsys.readouterr().err) == (groups == 3)


def test_a_class_that_appears_late(tmp_path, capsys):
    table = pd.DataFrame({"day": np.arange(200), "x": rng.normal(size=200)})
    table["y"] = np.where((table["x"] > 0) & (table["day"] > 60), "b", "a")
    report = run(table, "--target", "y", "--time", "day", "--check", "--compare", folder=tmp_path)
    assert np.isfinite(report["models"]["GridSearchCV 7x9"]["score"])
    assert 0 < report["errors_left_out"]["start"] < 2


def test_a_column_that_divides_may_be_dropped_too(tmp_path):
    table = TABLE.drop(columns="ill")
    report = run(table, "--target", "effect", "--group", "patient", "--drop", "patient", "--no-check",
                 folder=tmp_path)
    assert report["divided"].startswith("in ") and "patient" in report["left_out"]


def test_hints_are_of_names_and_dates_alone():
    frame = pd.DataFrame({
        "customerId": PEOPLE, "region": PEOPLE % 12, "day": pd.date_range("2020", periods=320),
        "other day": pd.date_range("2020", periods=320)[::-1],
    })
    hints = tabular.hints_of_order(frame)
    assert len(hints) == 2 and "--group 'customerId'" in hints[0] and "--time 'day'" in hints[1]
