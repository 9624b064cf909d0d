"""What notebooks show of results: values, diagnosis and a picture, as well-formed HTML."""

from xml.etree import ElementTree

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_diabetes
from sklearn.kernel_ridge import KernelRidge

import kbo
import theory
from kbo import html, inspection
from kbo.estimators import KernelBilevelRegressor

from . import small


@pytest.fixture
def problem(x64):
    return small.problem()


def parsed(result):
    return ElementTree.fromstring(result._repr_html_())


def words(result):
    return " ".join(parsed(result).itertext())


def test_a_search_is_drawn_and_diagnosed(problem):
    result = kbo.minimize(problem, small.OMEGA)
    assert result.status.name in words(result)
    assert f"{result.value:.6g}" in words(result)
    assert len(parsed(result).findall("svg/polyline")) == 2
    short = kbo.minimize(problem, result.omega)  # one point is no curve
    assert short.n_steps == 0
    assert not parsed(short).findall("svg")


def test_a_hypergradient_is_diagnosed(problem):
    found = kbo.value_and_hypergradient(problem, small.OMEGA)
    assert "CONVERGED" in words(found)
    assert f"{np.abs(found.grad).max():.3g}" in words(found)


def test_a_report_has_bars():
    x, y = load_diabetes(return_X_y=True)
    report = inspection.report(KernelBilevelRegressor(max_iter=3, cv=3).fit(x[:100], y[:100]))
    assert len(parsed(report).findall("table/tr/td/svg/rect")) == len(report.features)
    assert "criterion" in words(report)


def test_a_rate_says_its_verdict():
    problem = theory.problems.torus_regression(smoothness=1.0)
    records = theory.run_rate_experiment(problem, [20, 40, 80, 160], n_repeats=8)
    fit = theory.fit_rate(records, "grad")
    assert fit.verdict in words(fit)


@pytest.mark.parametrize("values, drawn", [
    ([], False), ([1.0], False), ([3.0, 2.0, 1.0], True), ([1.0, 1.0], True),
    ([np.nan, 1.0, np.inf, 0.5], True), ([0.0, -1.0, 1.0], True),
])
@pytest.mark.parametrize("log", [False, True])
def test_curves_of_any_values(values, drawn, log):
    svg = html.curve(values, "a < b", log=log)
    enough = sum(np.isfinite(v) and (v > 0 or not log) for v in values) > 1
    assert bool(svg) == (drawn and enough)
    if svg:
        picture = ElementTree.fromstring(svg)
        points = [p.split(",") for p in picture.find("polyline").get("points").split()]
        assert np.isfinite(np.array(points, float)).all()
        assert np.array(points, float)[:, 1].max() <= html.HEIGHT


def test_names_are_escaped():
    assert "<b>" not in html.facts({"<b>": "<i>"}) + html.bars({"<b>": (0.5, "<i>")})


X, Y = load_diabetes(return_X_y=True)
X, Y = X[:120], Y[:120]


@pytest.mark.parametrize(
    ("estimator", "wanted", "drawn"),
    [
        (KernelBilevelRegressor("gaussian", max_iter=5), ("status", "criterion at the start", "alpha"), True),
        (kbo.KernelBilevelClassifier(max_iter=3), ("status", "loss on other folds"), True),
        (kbo.HypergradientSearchCV(KernelRidge(kernel="rbf"), {"alpha": (1e-3, 10.0)}, max_iter=3),
         ("best parameters", "alpha 0."), False),
    ],
)
def test_a_fitted_estimator_shows_facts_below_its_diagram(estimator, wanted, drawn):
    assert "evaluations</th>" not in estimator._repr_html_()  # nothing is known before fit
    target = Y > 140 if isinstance(estimator, kbo.KernelBilevelClassifier) else Y
    model = estimator.fit(X, target)
    for text in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        assert all(word in text for word in wanted)
        assert ("<polyline" in text) == drawn
    with sklearn.config_context(display="text"):
        assert "text/html" not in model._repr_mimebundle_()


def test_two_stages_show_coefficients_with_errors():
    data = kbo.datasets.make_iv_linear(300, random_state=0)
    model = kbo.TwoStageLeastSquares().fit(data.X, data.y, data.Z)
    text = model._repr_html_()
    assert f"{model.coef_[0]:.4g} ± {model.standard_errors_[0]:.2g}" in text and "effective F" in text
