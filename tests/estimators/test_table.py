"""DataFrames as they are: categories, text, dates and missing cells, one lengthscale a column."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score

from kbo import KernelBilevelClassifier, KernelBilevelRegressor, inspection

rng = np.random.default_rng(0)
N = 150
LEVELS = np.array(["red", "green", "blue"])
FRAME = pd.DataFrame({
    "size": rng.normal(size=N),
    "colour": rng.choice(LEVELS, N),
    "kind": pd.Categorical(rng.choice([3, 1], N)),
    "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, N), unit="D"),
    "count": pd.array(rng.integers(0, 9, N), dtype="Int64"),
    "flag": rng.random(N) < 0.5,
})
Y = np.sin(FRAME["size"]) + 2.0 * (FRAME["colour"] == "red") + 0.1 * rng.normal(size=N)
Y = Y.to_numpy()


def test_a_table_of_numbers_is_its_array():
    X = FRAME[["size", "count", "flag"]]
    model, other = KernelBilevelRegressor().fit(X, Y), KernelBilevelRegressor()
    other.fit(X.to_numpy(float), Y)
    np.testing.assert_array_equal(model.predict(X), other.predict(X.to_numpy(float)))
    assert list(model.feature_names_in_) == list(X.columns)


@pytest.mark.parametrize("kind", [KernelBilevelRegressor, KernelBilevelClassifier])
def test_every_column_has_one_lengthscale(kind):
    y = Y if kind is KernelBilevelRegressor else np.where(Y > 1, "many", "few")
    kernel = "matern32" if kind is KernelBilevelRegressor else "gaussian"
    model = kind(kernel, criterion="cv", prior=0.0).fit(FRAME, y)
    assert model.lengthscale_.shape == (6,)
    np.testing.assert_array_equal(np.bincount(model.columns_), [1, 3, 2, 1, 1, 1])
    long = model.kernel_.lengthscale
    assert all(len(np.unique(long[model.columns_ == k])) == 1 for k in range(6))
    assert model.score(FRAME, y) > 0.95
    names, values = inspection.relevance(model)
    assert len(names) == len(values) == 6
    assert set(names[:2]) == {"size", "colour"}


def test_levels_are_equally_far_apart_by_hand():
    X = FRAME[["size", "colour"]]
    model = KernelBilevelRegressor("gaussian").fit(X, Y)
    by_hand = np.column_stack([X["size"], *(X["colour"] == level for level in sorted(LEVELS))])
    start = np.array([1.0, 1.0, 1.0, 1.0])
    shares = by_hand[:, 1:].mean(0)
    size, _ = model._table.units.spread[[0, 1]]
    start = np.sqrt(2) * np.append(size, np.repeat(np.sqrt(1 - shares @ shares), 3))
    tied = KernelBilevelRegressor("gaussian", lengthscale=start, ard=[0, 1, 1, 1], prior=0.0)
    np.testing.assert_allclose(
        KernelBilevelRegressor("gaussian", prior=0.0).fit(X, Y).predict(X),
        tied.fit(by_hand, Y).predict(by_hand), rtol=1e-6,
    )


def test_the_order_and_the_names_of_levels_do_not_matter():
    model = KernelBilevelRegressor().fit(FRAME, Y)
    other = FRAME.assign(
        colour=FRAME["colour"].map({"red": "z", "green": "a", "blue": "m"}),
        kind=FRAME["kind"].astype(int).astype("category"),
    )
    np.testing.assert_allclose(
        KernelBilevelRegressor().fit(other, Y).predict(other), model.predict(FRAME), rtol=1e-6
    )


@pytest.mark.parametrize("chosen", [["count"], [1], [-2], [False, True, False]])
def test_categories_by_name_place_or_mask(chosen):
    X = FRAME[["size", "count", "flag"]]
    model = KernelBilevelRegressor(categorical_features=chosen, tune=()).fit(X, Y)
    np.testing.assert_array_equal(np.bincount(model.columns_), [1, 9, 1])
    if chosen != ["count"]:
        array = X.to_numpy(float)
        again = KernelBilevelRegressor(categorical_features=chosen, tune=()).fit(array, Y)
        np.testing.assert_array_equal(again.predict(array), model.predict(X))


def test_a_number_is_the_same_level_as_integer_and_as_float():
    X = np.column_stack([FRAME["size"], rng.integers(0, 3, N)])
    model = KernelBilevelRegressor(categorical_features=[1], tune=()).fit(X, Y)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(int)})
    other = KernelBilevelRegressor(categorical_features=["b"], tune=()).fit(frame, Y)
    np.testing.assert_array_equal(model.predict(X), other.predict(frame))
    np.testing.assert_array_equal(
        other.predict(frame.assign(b=frame["b"].astype(float))), other.predict(frame)
    )


def test_missing_numbers_are_as_far_from_all_others():
    X = FRAME[["size"]].assign(gap=rng.normal(size=N)).to_numpy()
    X[::4, 1] = np.nan
    y = np.sin(X[:, 0]) + 3.0 * np.isnan(X[:, 1])  # what is missing says something
    model = KernelBilevelRegressor().fit(X, y)
    assert model.lengthscale_.shape == (2,)
    assert model.score(X, y) > 0.95
    blind = KernelBilevelRegressor().fit(np.nan_to_num(X), y)
    scores = [cross_val_score(*pair, y, cv=2) for pair in ((model, X), (blind, np.nan_to_num(X)))]
    assert scores[0].mean() > scores[1].mean()
    points = model._table.encode(X, [])
    known = ~np.isnan(X[:, 1])
    np.testing.assert_array_equal(points[known], np.column_stack([X[known], np.zeros(known.sum())]))
    np.testing.assert_array_equal(points[~known, 1], np.median(X[known, 1]))
    assert (points[~known, 2] == model._table.units.spread[1]).all()


def test_cells_missing_or_new_in_predict_alone():
    model = KernelBilevelRegressor().fit(FRAME, Y)
    odd = FRAME.iloc[:3].copy()
    odd["kind"] = odd["kind"].astype(object)
    odd.iloc[0, 1], odd.iloc[1, 0], odd.iloc[2, 2] = "violet", np.nan, None
    assert np.isfinite(model.predict(odd)).all()
    numbers = FRAME[["size", "count"]].to_numpy(float)
    plain = KernelBilevelRegressor(tune=()).fit(numbers, Y)
    median = numbers[:1].copy()
    median[0, 0] = np.median(numbers[:, 0])
    np.testing.assert_array_equal(
        plain.predict([[np.nan, numbers[0, 1]]]), plain.predict(median)
    )


def test_rows_without_weight_are_not_read():
    odd = FRAME.copy()
    odd.loc[N] = [np.nan, "violet", 1, pd.Timestamp("1900-01-01"), 10**6, True]
    weight = np.append(np.ones(N), 0.0)
    model = KernelBilevelRegressor().fit(odd, np.append(Y, 0.0), weight)
    np.testing.assert_allclose(
        model.predict(FRAME), KernelBilevelRegressor().fit(FRAME, Y).predict(FRAME), rtol=1e-6
    )


def test_folds_whose_levels_and_gaps_differ():
    X = FRAME.copy()
    X.loc[X.index[:3], "colour"] = ["once", "twice", None]
    X.loc[X.index[7], "size"] = np.nan
    assert cross_val_score(
        KernelBilevelRegressor(), X, Y, cv=3, error_score="raise"
    ).mean() > 0.8


def test_an_identifier_and_many_levels_do_no_harm():
    test = np.arange(N) % 3 == 0
    score = lambda X: KernelBilevelRegressor().fit(X[~test], Y[~test]).score(X[test], Y[test])
    plain = score(FRAME)
    named = FRAME.assign(name=[f"row {k}" for k in range(N)])
    assert score(named) > plain - 0.02
    assert KernelBilevelRegressor(tune=()).fit(named, Y).X_fit_.shape[1] <= 9 + 100


@pytest.mark.parametrize("frame, options, text", [
    (FRAME, {"categorical_features": ["size", "none"]}, "'none'"),
    (FRAME, {"categorical_features": [6]}, "categorical_features"),
    (FRAME, {"categorical_features": ["day"]}, "column 'colour' has cells that are no numbers"),
    (FRAME.assign(size=np.inf), {}, "column 'size' of X contains infinity"),
    (FRAME, {"lengthscale": np.ones(9)}, "one for each of 6 features"),
    (FRAME, {"ard": [0, 1]}, "6 integers"),
    (FRAME, {"groups": [0, 1], "kernel": "gaussian"}, "each of 6 features"),
])
def test_bad_tables_are_refused(frame, options, text):
    with pytest.raises(ValueError, match=text):
        KernelBilevelRegressor(**options).fit(frame, Y)


def test_groups_and_lengthscales_are_of_columns():
    model = KernelBilevelRegressor(
        "gaussian", groups=list("aabbcc"), lengthscale=np.arange(1.0, 7.0), tune="alpha"
    ).fit(FRAME, Y)
    np.testing.assert_array_equal(model.lengthscale_, np.arange(1.0, 7.0))
    tied = KernelBilevelRegressor(ard=[0, 1, 1, 2, 2, 2]).fit(FRAME, Y)
    assert np.isfinite(tied.lengthscale_).all()


def test_wild_cells_do_no_harm():
    X = FRAME[["size", "count"]].to_numpy(float)
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=N)
    test = np.arange(N) % 3 == 0
    score = lambda Z: KernelBilevelRegressor().fit(Z[~test], y[~test]).score(Z[test], y[test])
    plain = score(X)
    for wild in (1e4, 1e12, -1e200):
        odd = X.copy()
        odd[1, 0] = odd[5, 1] = wild
        assert score(odd) > plain - 0.02
    heavy = X * np.exp(6 * rng.normal(size=(N, 1)))
    assert np.isfinite(score(heavy))
    table = KernelBilevelRegressor(tune=()).fit(X, y)._table
    numbers = np.array([[-1e9, 0.0], [-1e3, 0.0], [1.0, 0.0], [1e3, 0.0], [1e9, 0.0]])
    points = table.encode(numbers, [])
    assert (np.diff(points[:, 0]) > 0).all()
    assert np.abs(points).max() < 2e4
    np.testing.assert_array_equal(points[2], numbers[2])


def test_columns_of_every_type():
    stamps = pd.Timestamp("2020-01-01 12:00") + pd.to_timedelta(np.arange(N), unit="D")
    rest = FRAME[["colour"]]
    zoned = rest.assign(t=stamps.tz_localize("UTC").tz_convert("Asia/Tokyo"))
    for frame in (
        zoned, rest.assign(t=stamps), rest.assign(t=stamps - stamps[0]), rest,
        FRAME[["kind"]].assign(other=pd.Categorical(FRAME["colour"], ordered=True)),
        rest.assign(c=pd.array([1, None, 2] * 50, dtype="Int64")),
        pd.DataFrame({"c": pd.array([1.5, None, 2] * 50, dtype="Float64"), "d": FRAME["size"]}),
        rest.assign(c=np.array([True, None, False] * 50, dtype=object)),
        rest.assign(empty=np.nan, same=1.0, level="only"),
    ):
        model = KernelBilevelRegressor(tune=()).fit(frame, Y)
        assert np.isfinite(model.predict(frame)).all()
        assert model.lengthscale_.shape == (frame.shape[1],)
    np.testing.assert_array_equal(
        KernelBilevelRegressor(tune=()).fit(zoned, Y).predict(zoned),
        KernelBilevelRegressor(tune=()).fit(rest.assign(t=stamps), Y).predict(rest.assign(t=stamps)),
    )


def test_a_gap_in_a_constant_column_is_seen():
    X = np.column_stack([FRAME["size"], np.where(rng.random(N) < 0.5, 7.0, np.nan)])
    y = np.sin(X[:, 0]) + 2.0 * np.isnan(X[:, 1])
    model = KernelBilevelRegressor().fit(X, y)
    assert model.score(X, y) > 0.99
    assert np.isfinite(model.lengthscale_).all()
    assert inspection.relevance(model)[1].min() > 0.1


def test_text_that_is_no_category_is_named():
    rng = np.random.default_rng(0)
    size, y = rng.lognormal(3, 2, 60), rng.normal(size=60)
    frame = pd.DataFrame({
        "price": [f"${v:,.2f}" for v in size], "sold": pd.date_range("2024-01-01", periods=60).astype(str),
        "house": [f"house no. {k}" for k in range(60)], "street": rng.choice([f"street {k}" for k in range(12)], 60),
        "rooms": rng.choice(["1", "2", "3"], 60), "code": pd.Categorical([f"{k:03d}" for k in range(60)]),
    })
    fit = KernelBilevelRegressor(kernel="gaussian", tune=(), alpha=1.0).fit
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(frame, y)
    texts = [str(w.message) for w in caught if w.category is UserWarning]
    assert len(texts) == 3 and {w.filename for w in caught} == {__file__}
    for name, kind in (("price", "numbers"), ("sold", "dates"), ("house", "names of the rows")):
        assert sum(f"column {name!r} is taken" in text and kind in text for text in texts) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(frame.astype("category"), y)
