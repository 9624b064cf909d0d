"""Displays draw what they were given; relevance, influence and reports are right."""

import matplotlib.pyplot
import numpy as np
import pytest
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import PredictionErrorDisplay
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import kbo
from kbo import inspection

matplotlib.use("Agg")
CV = KFold(4)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X)[:200], scale(y)[:200]


@pytest.fixture(scope="module")
def searches(diabetes):
    grid = {"alpha": [1e-2, 1e-1, 1, 10], "gamma": [1e-3, 1e-2, 1e-1]}
    return (
        kbo.HypergradientSearchCV(
            KernelRidge(kernel="rbf"), grid, cv=CV, scoring="neg_mean_squared_error", n_restarts=1,
            random_state=0,
        ).fit(*diabetes),
        GridSearchCV(
            KernelRidge(kernel="rbf"), grid, cv=CV, scoring="neg_mean_squared_error"
        ).fit(*diabetes),
    )


@pytest.fixture(scope="module")
def tuned(diabetes):
    return kbo.KernelBilevelRegressor(max_iter=5).fit(*diabetes)


def has_drawn(display):
    display.figure_.canvas.draw()
    axes = np.ravel(display.ax_)
    assert all(ax.get_figure() is display.figure_ for ax in axes)
    return axes


@pytest.mark.slow
def test_outer_losses_at_points_are_half_the_grids_errors(searches, diabetes):
    search, grid = searches
    ours = search.outer_loss_at(*diabetes, grid.cv_results_["params"])
    np.testing.assert_allclose(ours, -0.5 * grid.cv_results_["mean_test_score"], rtol=1e-9)


def test_the_path_lies_on_its_surface(searches, diabetes):
    search, grid = searches
    display = inspection.SearchPathDisplay.from_estimator(
        search, *diabetes, grid=grid.cv_results_, resolution=6
    )
    (ax, *_) = has_drawn(display)
    assert ax.get_xlabel() == "alpha" and ax.get_yscale() == "log"
    surface = display.surface["outer_loss"]
    assert surface.shape == (6, 6) and surface.min() >= display.outer_loss.min() * (1 - 1e-6)
    corner = {"alpha": display.surface["alpha"][0], "gamma": display.surface["gamma"][-1]}
    np.testing.assert_allclose(surface[0, -1], search.outer_loss_at(*diabetes, [corner])[0])
    assert (np.diff(display.outer_loss) <= 0).all()  # one search, not all restarts
    assert len(display.grid["alpha"]) == 12
    line = inspection.SearchPathDisplay.from_estimator(
        search, *diabetes, params="gamma", grid=grid.cv_results_, resolution=5
    )
    has_drawn(line)
    assert line.surface["outer_loss"].shape == (5,)
    assert line.surface["outer_loss"].min() >= line.outer_loss.min() * (1 - 1e-6)
    figure, ax = matplotlib.pyplot.subplots()
    bare = inspection.SearchPathDisplay.from_cv_results(search.cv_results_, ax=ax)
    assert bare.ax_ is ax and bare.figure_ is figure


def test_bad_paths(searches):
    search, grid = searches
    draw = inspection.SearchPathDisplay.from_cv_results
    with pytest.raises(ValueError, match="HypergradientSearchCV"):
        draw(grid.cv_results_)
    with pytest.raises(ValueError, match="C"):
        draw(search.cv_results_, params=["C"])
    with pytest.raises(ValueError, match="gamma"):
        draw(search.cv_results_, grid={"params": [{"alpha": 1.0}]})
    with pytest.raises(ValueError, match="one or two"):
        inspection.SearchPathDisplay({}, [])


def test_convergence_is_the_best_so_far(searches, tuned):
    search, grid = searches
    display = inspection.ConvergenceDisplay.from_cv_results(
        {"ours": search.cv_results_, "grid": grid.cv_results_}
    )
    has_drawn(display)
    seconds, values = display.curves["grid"]
    assert len(seconds) == 12 and (np.diff(values) >= 0).all() and (np.diff(seconds) > 0).all()
    np.testing.assert_allclose(values[-1], grid.best_score_)
    display = inspection.ConvergenceDisplay.from_estimator(tuned)
    np.testing.assert_allclose(display.curves["KernelBilevelRegressor"][1][-1], tuned.criterion_)
    records = [{"seconds": 1, "loss": 3.0}, {"seconds": 2, "loss": 4.0}]
    display = inspection.ConvergenceDisplay.from_records({"a": records}, value="loss")
    np.testing.assert_array_equal(display.lines_["a"].get_ydata(), [3.0, 3.0])
    with pytest.raises(ValueError, match="seconds"):
        inspection.ConvergenceDisplay({"a": ([1.0], [1.0, 2.0])})


def test_relevance_display(tuned):
    names = load_diabetes().feature_names
    display = inspection.RelevanceDisplay.from_estimator(tuned, names=names, top=4)
    (ax,) = has_drawn(display)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(display.names[::-1])
    assert len(ax.patches) == 4
    report = inspection.report(tuned, names)
    again = inspection.RelevanceDisplay.from_records(report.features)
    np.testing.assert_allclose(again.strengths[:4], display.strengths)
    with pytest.raises(ValueError, match="3 names"):
        inspection.relevance(tuned, ["a", "b", "c"])


def test_sample_weights_display():
    X, y = load_wine(return_X_y=True)
    wrong = np.arange(len(y)) % 4 == 0
    y = np.where(wrong, (y + 1) % 3, y)
    model = kbo.SampleReweightingClassifier(random_state=0)
    model.fit(scale(X), y, trusted=np.arange(len(y)) % 8 == 1)
    display = inspection.SampleWeightDisplay.from_estimator(model, wrong=wrong)
    (ax,) = has_drawn(display)
    counts = sum(patch.get_height() for patch in ax.patches)
    assert counts >= (~model.trusted_).sum()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["right", "wrong"]
    rows = [{"weight": w, "wrong": bool(f)} for w, f in zip(model.sample_weight_, wrong, strict=True)]
    has_drawn(inspection.SampleWeightDisplay.from_records(rows))
    has_drawn(inspection.SampleWeightDisplay.from_records([{"weight": 0.5}]))
    with pytest.raises(ValueError, match="groups"):
        inspection.SampleWeightDisplay([0.5], [True, False])


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_influence_is_what_a_sample_adds(loss, diabetes):
    X, y = diabetes
    model = kbo.KernelBilevelRegressor("gaussian", loss=loss, tune=(), alpha=0.5).fit(X, y)
    influence = inspection.influence(model)
    np.testing.assert_allclose(influence, np.abs(model.dual_coef_))  # k(x, x) = 1
    if loss == "squared":  # alpha θ = the residual
        residual = (y - model.predict(X)) / 0.5
        np.testing.assert_allclose(influence, np.abs(residual), rtol=1e-7)
    scaled = kbo.KernelBilevelRegressor(4.0 * kbo.kernels.Gaussian(3.0), tune=()).fit(X, y)
    np.testing.assert_allclose(inspection.influence(scaled), 2 * np.abs(scaled.dual_coef_))
    spanned = kbo.KernelBilevelRegressor(solver="nystrom", n_centers=20, tune=()).fit(X, y)
    with pytest.raises(ValueError, match="centres"):
        inspection.influence(spanned)
    assert inspection.report(spanned).samples == []


def test_report(diabetes):
    X, y = diabetes
    model = kbo.KernelBilevelRegressor(max_iter=3, standard_errors=True).fit(X, y)
    found = inspection.report(model, load_diabetes().feature_names, top=3)
    text = str(found)
    assert "±" in text and "bmi" in text and "influence" in text
    by_name = {row["name"]: row["lengthscale"] for row in found.features}
    np.testing.assert_allclose(by_name["bmi"], model.lengthscale_[2])
    assert found.samples[0]["index"] == np.argmax(inspection.influence(model))
    assert len(found.samples) == 3
    wanted = {"loss on other folds (half the mean squared error)", "standard deviation of noise"}
    assert wanted < set(found.numbers)
    assert "kept" not in found.numbers  # standard errors are of folds, which are searched alone
    assert inspection.report(kbo.KernelBilevelRegressor().fit(X[:100], y[:100])).numbers["kept"]
    flat = inspection.report(kbo.KernelBilevelRegressor(ard=False, tune=()).fit(X, y))
    assert flat.features == [] and "criterion" not in flat.numbers
    rows = [{"name": name, "lengthscale": 2.0, "relevance": 1.0} for name in "ab"]
    assert "none was found to matter more" in str(inspection.Report(features=rows))
    rows[1]["relevance"] = 0.5
    assert "features by relevance" in str(inspection.Report(features=rows))


def test_scikit_learns_own_displays_take_our_estimators(tuned, diabetes):
    has_drawn(PredictionErrorDisplay.from_estimator(tuned, *diabetes))
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), kbo.KernelBilevelClassifier(loss="squared", max_iter=3))
    has_drawn(CalibrationDisplay.from_estimator(model.fit(X[:200], y[:200]), X[200:], y[200:]))


def test_names_are_text_and_no_mathematics(tmp_path):
    names = ["Ba$$in", "price $_$", "cost ($/m^2), tax ($/a)", "two\nlines\tand a tab"]
    shown = inspection.RelevanceDisplay(names, [1.0, 0.5, 0.2, 0.1])
    assert shown.plot().ax_.get_yticklabels()[0].get_text() == "two lines and a tab"
    curves = inspection.ConvergenceDisplay({name: ([0.0, 1.0], [2.0, 1.0]) for name in names[:3]})
    weights = inspection.SampleWeightDisplay([0.1, 0.9], [True, False], labels=names[:2])
    for k, display in enumerate((shown, curves.plot(), weights.plot())):
        display.figure_.savefig(tmp_path / f"{k}.png")


def test_one_wrong_cell_changes_no_relevance():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    y = np.sin(X[:, 0]) + 0.3 * X[:, 1] + 0.1 * rng.normal(size=120)
    clean = kbo.KernelBilevelRegressor("gaussian").fit(X, y)
    X[5, 2] = 1e4
    spoiled = kbo.KernelBilevelRegressor("gaussian").fit(X, y)
    first, second = (dict(zip(*inspection.relevance(m), strict=True)) for m in (clean, spoiled))
    for name in first:
        assert second[name] == pytest.approx(first[name], abs=0.1), (first, second)


def test_where_a_common_lengthscale_was_kept_no_feature_matters_more():
    rows = [{"name": name, "lengthscale": 1.0, "relevance": r} for name, r in (("a", 1), ("b", 0.3))]
    common = inspection.Report(features=rows, numbers={"kept": "common lengthscale"})
    assert "none was found to matter more" in str(common)
    assert "by relevance" in str(inspection.Report(features=rows, numbers={"kept": "folds"}))
