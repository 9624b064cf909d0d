"""Copies of rows and many levels are told, where they change what the numbers mean."""

import warnings

import numpy as np
import pandas as pd
import pytest

from kbo import KernelBilevelClassifier, KernelBilevelRegressor

rng = np.random.default_rng(0)
X, COIN = rng.normal(size=(40, 3)), rng.integers(2, size=40)
TWICE = np.repeat(np.arange(40), 2)


@pytest.mark.parametrize("estimator", [KernelBilevelRegressor, KernelBilevelClassifier])
def test_copies_of_rows_are_told(estimator):
    model = estimator(max_iter=1)
    with pytest.warns(UserWarning, match="40 of 80 rows are exact copies"):
        model.fit(X[TWICE], COIN[TWICE])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*exact copies")
        model.fit(X, COIN)  # no copies
        model.fit(X[TWICE], COIN[TWICE], groups=TWICE)  # kept together
        model.fit(X[TWICE], COIN[TWICE], np.tile([1.0, 0.0], 40))  # copies that do not count
        model.fit(X[TWICE], COIN[TWICE] ^ np.tile([0, 1], 40))  # the same features, another target
        model.fit(rng.integers(3, size=(80, 2)), COIN[TWICE])  # rows of few values agree by chance
        age = rng.integers(18, 80, size=(500, 1))
        model.fit(age, rng.integers(2, size=500))
        model.fit(age // 40, rng.integers(2, size=500))
        estimator(tune=()).fit(X[TWICE], COIN[TWICE])  # no folds, no criterion


def levels(n, count, seed=0):
    drawn = np.random.default_rng(seed)
    level = drawn.integers(count, size=n)
    effect = np.random.default_rng(1).normal(size=count)
    frame = pd.DataFrame({"x": drawn.normal(size=n), "level": [f"level {k}" for k in level]})
    return frame, effect[level] + 0.1 * frame["x"] + 0.05 * drawn.normal(size=n)


def test_each_of_150_levels_is_learned_where_rows_are_enough():
    (train, y), (test, target) = levels(900, 150), levels(300, 150, seed=2)
    model = KernelBilevelRegressor(kernel="gaussian", tune=(), lengthscale=5.0, alpha=1e-3)
    assert model.fit(train, y).score(test, target) > 0.97  # with 99 levels and a rest it is 0.64


def test_levels_that_are_taken_as_one_are_told(monkeypatch):
    monkeypatch.setattr("kbo.estimators._common.table.LEVELS", (20, 20))
    frame, y = levels(300, 60)
    model = KernelBilevelRegressor(tune=())
    with pytest.warns(UserWarning, match="'level' has so many levels that the 41 rarest"):
        model.fit(frame, y)


def refused(estimator, X, y, match, **options):
    with pytest.raises(ValueError, match=match):
        estimator.fit(X, y, **options)


def test_targets_groups_and_cells_that_are_none_are_named():
    R, C = KernelBilevelRegressor(), KernelBilevelClassifier()
    target = X[:, 0]
    refused(R, X, 1e200 * target, "too large to be squared")
    refused(R, X, np.array(["b"] * 40), "KernelBilevelClassifier is for labels")
    refused(KernelBilevelRegressor(loss="poisson"), X, target, "not negative: row 3 is")
    refused(R, X, target, "one group only", groups=np.ones(40))
    for model in (R, KernelBilevelRegressor(tune=())):
        refused(model, X, target, "groups has no label in row 1", groups=["a", None] * 20)
        refused(model, X, target, "inconsistent numbers", groups=np.arange(30))
    refused(C, X, np.array(["a", None] * 20, dtype=object), "y has no label in row 1")
    refused(C, X, pd.array(["a", "b", None, "a"] * 10, dtype="string"), "y has no label in row 2")
    refused(R, pd.DataFrame(X, columns=["a", "b", "a"]), target, r"several columns named \['a'\]")
    refused(R, pd.DataFrame({"a": [[1]] * 40, "b": target}), target, "holds a list")


def test_a_class_of_one_row_is_told_once():
    labels = ["a", "b"] * 19 + ["a", "c"]
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        KernelBilevelClassifier(max_iter=1).fit(X, labels)
    told = [str(one.message) for one in given if "max_iter" not in str(one.message)]
    assert len(told) == 1 and "class 'c' has one row only" in told[0]
