"""Partial dependence is scikit-learn's, and its band is the Gaussian process's."""

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.inspection import partial_dependence
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kbo
from kbo import inspection

matplotlib.use("Agg")
rng = np.random.default_rng(0)
N = 120
FRAME = pd.DataFrame({
    "size": rng.normal(size=N), "count": rng.integers(0, 40, N),
    "colour": rng.choice(["red", "green", "blue"], N),
    "kind": pd.Categorical(rng.choice(["one", "two"], N)),
    "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, N), unit="D"),
})
STEP = {"red": 1.0, "green": 0.0, "blue": -1.0}
Y = np.sin(2 * FRAME["size"]) + FRAME["colour"].map(STEP) + 0.05 * FRAME["count"]
Y = (Y + 0.05 * rng.normal(size=N)).to_numpy()
MODEL = kbo.KernelBilevelRegressor("matern32", max_iter=20).fit(FRAME, Y)
NUMBERS = FRAME[["size", "count"]].to_numpy(float)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("solver", [{}, {"solver": "nystrom", "n_centers": 30}])
def test_the_average_and_its_deviation_by_hand(solver):
    fixed = dict(lengthscale=1.2, alpha=0.1, tune=(), kernel="gaussian", ard=False)
    model = kbo.KernelBilevelRegressor(**fixed, **solver).fit(NUMBERS, Y)
    points = rng.normal(size=(50, 2)) * NUMBERS.std(0) + NUMBERS.mean(0)
    mean, std = model.predict_average(points)
    assert mean == pytest.approx(model.predict(points).mean(), rel=1e-12)
    unit = model.noise_**2 / 0.1
    if not solver:
        process = GaussianProcessRegressor(RBF(1.2), alpha=0.1, optimizer=None)
        cov = process.fit(NUMBERS, Y - Y.mean()).predict(points, return_cov=True)[1]
    else:
        Z, k = model.X_fit_, lambda A, B: RBF(1.2)(A, B)
        known = k(points, Z) @ np.linalg.solve(k(Z, Z), k(Z, points))
        precision = k(Z, Z) + k(Z, NUMBERS) @ k(NUMBERS, Z) / 0.1
        cov = k(points, points) - known + k(points, Z) @ np.linalg.solve(precision, k(Z, points))
    assert std == pytest.approx(np.sqrt(unit * cov.mean()), rel=1e-5)
    several = kbo.KernelBilevelRegressor(**fixed, **solver).fit(NUMBERS, np.column_stack([Y, 3 * Y]))
    np.testing.assert_allclose(several.predict_average(points)[1], [std, 3 * std], rtol=1e-6)
    with pytest.raises(ValueError, match="predict_average needs loss='squared'"):
        kbo.KernelBilevelRegressor(loss="huber", tune=()).fit(NUMBERS, Y).predict_average(points)


def test_the_mean_is_scikit_learns():
    values, mean, std = inspection.effect(MODEL, FRAME, "size", points=7)
    np.testing.assert_allclose(values[[0, -1]], np.quantile(FRAME["size"], [0.05, 0.95]))
    found = partial_dependence(
        MODEL, FRAME, ["size"], custom_values={"size": values}, method="brute"
    )
    np.testing.assert_allclose(mean, found["average"][0], rtol=1e-9)
    assert values.shape == mean.shape == std.shape == (7,)
    by_hand = [MODEL.predict_average(FRAME.assign(size=value)) for value in values]
    np.testing.assert_allclose(np.column_stack([mean, std]), by_hand, rtol=1e-9)


def test_the_effects_of_a_sum_are_its_terms():
    center = lambda v: v - v.mean()
    values, mean, std = inspection.effect(MODEL, FRAME, "colour")
    assert list(values) == ["blue", "green", "red"]
    np.testing.assert_allclose(center(mean), [-1, 0, 1], atol=0.15)
    values, mean, std = inspection.effect(MODEL, FRAME, 0)
    assert np.abs(center(mean) - center(np.sin(2 * values))).max() < 0.25
    assert std.max() < 0.3
    values, mean, _ = inspection.effect(MODEL, FRAME, "count")
    assert len(values) == 20 and np.corrcoef(values, mean)[0, 1] > 0.95
    values, mean, _ = inspection.effect(MODEL, FRAME, "day", points=4)
    assert values.dtype.kind == "M" and np.ptp(mean) < 0.4
    values, _, _ = inspection.effect(MODEL, FRAME, "kind")
    assert list(values) == ["one", "two"]
    nullable = FRAME.astype({"count": "Int64"})
    nullable.loc[3, "count"] = None
    values, mean, _ = inspection.effect(MODEL, nullable, "count", points=3)
    assert values.dtype == float and len(mean) == 3 and np.isfinite(mean).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_and_pipelines(classes):
    labels = np.digitize(Y, np.quantile(Y, np.arange(1, classes) / classes))
    model = make_pipeline(StandardScaler(), kbo.KernelBilevelClassifier(max_iter=2))
    model.fit(NUMBERS, labels)
    values, mean, std = inspection.effect(model, NUMBERS, 1, points=5)
    assert std is None
    found = partial_dependence(
        model, NUMBERS, [1], custom_values={1: values}, method="brute",
        response_method="predict_proba",
    )
    np.testing.assert_allclose(mean.T, found["average"][0] if classes == 2 else found["average"],
                               rtol=1e-9)
    display = inspection.EffectDisplay.from_estimator(model, NUMBERS, features=[0, 1], points=3)
    assert len(display.ax_) == 2 and len(display.ax_[0].lines) == (1 if classes == 2 else 3)
    display.figure_.canvas.draw()


def test_the_display_has_the_most_relevant_features():
    display = inspection.EffectDisplay.from_estimator(MODEL, FRAME, points=5)
    names = [ax.get_xlabel() for ax in display.ax_]
    assert names == list(inspection.relevance(MODEL)[0][:3])
    display.figure_.canvas.draw()
    many = pd.concat([FRAME] * 5)
    values, mean, _ = inspection.effect(MODEL, many, "size", points=2)
    rows = many.iloc[np.unique(np.linspace(0, len(many) - 1, 200).astype(int))]
    assert mean[0] == pytest.approx(MODEL.predict(rows.assign(size=values[0])).mean())


def test_levels_stay_what_they_are():
    draw = np.random.default_rng(1)
    codes = draw.integers(0, 30, 300)
    table = pd.DataFrame({
        "code": codes, "mixed": pd.Series(list(codes % 3), dtype=object).replace({2: "a"}),
        "grade": pd.Categorical(
            np.array(["low", "middle", "high"])[codes % 3], ["low", "middle", "high"], ordered=True
        ),
        "real": pd.Series(list(draw.normal(size=300)), dtype=object),
        "wait": pd.to_timedelta(draw.integers(0, 50, 300), unit="h"),
        "flag": codes % 2 == 0,
    })
    y = 5.0 * (codes % 3 == 1) + 0.01 * draw.normal(size=300)
    model = kbo.KernelBilevelRegressor(
        "matern32", categorical_features=["code", "mixed", "grade"], max_iter=5
    ).fit(table, y)
    np.testing.assert_array_equal(model.is_categorical_, [True] * 3 + [False] * 3)
    values, mean, _ = inspection.effect(model, table, "code", points=25)
    assert len(values) == 25 and set(values) <= set(codes) and list(values) == sorted(values)
    values, _, _ = inspection.effect(model, table, "mixed")
    assert list(values) == [0, 1, "a"]
    values, mean, _ = inspection.effect(model, table, "grade")
    assert list(values) == ["low", "middle", "high"] and mean[1] == mean.max()
    for name, kind in (("real", "f"), ("wait", "m")):
        values, _, _ = inspection.effect(model, table, name, points=4)
        assert len(values) == 4 and values.dtype.kind == kind
    assert list(inspection.effect(model, table, "flag")[0]) == [False, True]
    inspection.EffectDisplay.from_estimator(
        model, table, features=["grade", "mixed", "wait"], points=3
    ).figure_.canvas.draw()


def test_several_outputs_are_several_curves():
    model = kbo.KernelBilevelRegressor("matern32", tune=()).fit(NUMBERS, np.column_stack([Y, -Y, Y]))
    display = inspection.EffectDisplay.from_estimator(model, NUMBERS, features=[0], points=3)
    assert len(display.ax_[0].lines) == 3


def test_errors_name_the_columns():
    with pytest.raises(ValueError, match="points=1 must be at least 2"):
        inspection.effect(MODEL, FRAME, "size", points=1)
    with pytest.raises(ValueError, match="feature='size' has no cells in X"):
        inspection.effect(MODEL, FRAME.assign(size=np.nan), "size")
    alone = make_pipeline(kbo.KernelBilevelRegressor("matern32", tune=())).fit(NUMBERS, Y)
    assert len(inspection.effect(alone, NUMBERS, 0)[0]) == 20
    with pytest.raises(ValueError, match="feature='weight' is no column of X: choose one of"):
        inspection.effect(MODEL, FRAME, "weight")
    with pytest.raises(ValueError, match="feature=7"):
        inspection.effect(MODEL, FRAME, 7)
