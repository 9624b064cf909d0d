"""How strong instruments are said to be: jointly, and from spans rather than equal columns."""

import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from kbo.estimators import KernelIVRegressor, TwoStageLeastSquares, WeakInstrumentWarning

FAST = {"max_iter": 2, "cv": 2, "n_components": 30, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def design(n=200, strength=0.3, seed=0):
    """One endogenous column and two controls, one of them a dummy."""
    rng = np.random.default_rng(seed)
    z, w, u = rng.normal(size=n), 40 + 3 * rng.normal(size=n), rng.normal(size=n)
    black = (rng.uniform(size=n) < 0.3).astype(float)
    x = strength * z + w + 2 * black + u
    return np.column_stack([x, w, black]), w + u, np.column_stack([z, w, black])


def fitted(model, X, y, Z, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakInstrumentWarning)
        return model.fit(X, y, Z=Z, **given)


def partial_f(x, controls, instruments, weight=None):
    """The textbook's, by residuals, with a constant; weights by their roots."""
    n = len(x)
    root = np.sqrt(np.ones(n) if weight is None else weight)

    def sse(*parts):
        A = root[:, None] * np.column_stack([np.ones(n), *parts])
        return np.sum((root * x - A @ np.linalg.lstsq(A, root * x, rcond=None)[0]) ** 2)

    free, k = n - 1 - controls.shape[1] - instruments.shape[1], instruments.shape[1]
    less, more = sse(controls), sse(controls, instruments)
    return (less - more) / k / (more / free)


def cragg_donald(X, controls, instruments):
    """The least eigenvalue of the concentration matrix over k, from partialled-out columns."""
    n = len(X)
    C = np.column_stack([np.ones(n), controls])
    off = lambda V: V - C @ np.linalg.lstsq(C, V, rcond=None)[0]
    X, Z = off(X), off(instruments)
    P = Z @ np.linalg.lstsq(Z, X, rcond=None)[0]
    errors = (X - P).T @ (X - P) / (n - C.shape[1] - Z.shape[1])
    return np.linalg.eigvals(np.linalg.solve(errors, P.T @ P)).real.min() / Z.shape[1]


SAME_SPAN = {
    "as they are": lambda Z: Z,
    "other units": lambda Z: Z * [1, 12, 1],
    "shifted": lambda Z: Z - [0, 1e3, 0],
    "single precision": lambda Z: Z.astype(np.float32),
    "the other category": lambda Z: np.column_stack([Z[:, :2], 1 - Z[:, 2]]),
    "both categories": lambda Z: np.column_stack([Z, 1 - Z[:, 2]]),
    "mixed": lambda Z: Z @ [[1, 0, 0], [1, 2, 1], [0, 1, 3]],
}


@pytest.mark.parametrize("name", SAME_SPAN)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_partial_f_depends_on_the_span_of_the_instruments(name, weighted):
    X, y, Z = design()
    weight = np.random.default_rng(1).uniform(1, 5, len(X)) if weighted else None
    expected = partial_f(X[:, 0], Z[:, 1:], Z[:, :1], weight)
    given = {"sample_weight": weight}
    found = fitted(TwoStageLeastSquares(), X, y, SAME_SPAN[name](Z), **given)
    np.testing.assert_allclose(found.first_stage_statistic_, expected, rtol=1e-4)
    assert list(found.endogenous_) == [True, False, False]
    pipeline = make_pipeline(StandardScaler(), TwoStageLeastSquares())
    step = {f"twostageleastsquares__{key}": value for key, value in given.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakInstrumentWarning)
        pipeline.fit(X, y, twostageleastsquares__Z=SAME_SPAN[name](Z), **step)
    np.testing.assert_allclose(pipeline[-1].first_stage_statistic_, expected, rtol=1e-4)


def test_rotated_treatments_are_as_strong():
    X, y, Z = design()
    expected = partial_f(X[:, 0], Z[:, 1:], Z[:, :1])
    rotated = (X - X.mean(0)) @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    found = fitted(TwoStageLeastSquares(), rotated, y, Z)
    np.testing.assert_allclose(found.first_stage_statistic_, expected, rtol=1e-6)


def two_endogenous(n=400):
    """Each column is explained well, their difference is not."""
    rng = np.random.default_rng(0)
    Z, H, w = rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), rng.normal(size=n)
    first, second = Z.sum(1) + H[:, 0] + w, Z.sum(1) - H[:, 1] + 0.02 * Z[:, 0]
    return np.column_stack([first, second, w]), H[:, :2].sum(1), np.column_stack([Z, w])


def test_two_endogenous_columns_are_judged_jointly():
    X, y, Z = two_endogenous()
    with pytest.warns(WeakInstrumentWarning, match="below 10"):
        found = TwoStageLeastSquares().fit(X, y, Z=Z)
    expected = cragg_donald(X[:, :2], Z[:, 3:], Z[:, :3])
    assert expected < 2
    assert partial_f(X[:, 0], Z[:, 3:], Z[:, :3]) > 100
    np.testing.assert_allclose(found.first_stage_statistic_, expected, rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeakInstrumentWarning)  # one of them alone is strong
        TwoStageLeastSquares().fit(X[:, [0, 2]], y, Z=Z)


def test_the_columns_of_a_sieve_are_judged_jointly():
    """A binary instrument of the second column's square but for a little noise."""
    rng = np.random.default_rng(0)
    z = rng.choice([-1.0, 1.0], size=500) + 0.01 * rng.normal(size=500)
    u = rng.normal(size=500)
    X, Z, basis = (z + 0.5 * u)[:, None], z[:, None], PolynomialFeatures(2, include_bias=False)
    found = fitted(TwoStageLeastSquares(basis, PolynomialFeatures(3)), X, u, Z)
    powers = lambda V, q: np.column_stack([V**k for k in range(1, q + 1)])
    expected = cragg_donald(powers(X, 2), np.zeros((500, 0)), powers(Z, 3))
    np.testing.assert_allclose(found.first_stage_statistic_, expected, rtol=1e-5)
    assert expected < 10
    assert partial_f(X[:, 0], np.zeros((500, 0)), Z) > 500


def test_instruments_fewer_than_endogenous_columns_have_no_strength():
    X, y, Z = two_endogenous()
    model = TwoStageLeastSquares(alpha=1.0)
    with pytest.warns(WeakInstrumentWarning):
        assert model.fit(X, y, Z=Z[:, [0, 3]]).first_stage_statistic_ < 1e-6
    with pytest.warns(WeakInstrumentWarning):  # as many columns as samples: nothing to judge by
        rows = slice(0, 5)
        assert model.fit(X[rows], y[rows], Z=Z[rows]).first_stage_statistic_ == 0.0


def card():
    """Card (1995), as in linearmodels: log wages, education, proximity to a college."""
    linearmodels = pytest.importorskip(
        "linearmodels.datasets.card", reason="linearmodels, which holds the data, is not installed"
    )
    frame = linearmodels.load()
    controls = ["exper", "expersq", "black", "south", "smsa"]
    frame = frame[["lwage", "educ", "nearc4", "weight", *controls]].dropna()
    X, Z = frame[["educ", *controls]].to_numpy(), frame[["nearc4", *controls]].to_numpy()
    return X, frame["lwage"].to_numpy(), Z, frame["weight"].to_numpy()


@pytest.mark.parametrize("weighted", [False, True])
def test_real_survey_weights(weighted):
    X, y, Z, weight = card()
    weight = weight if weighted else None
    expected = partial_f(X[:, 0], Z[:, 1:], Z[:, :1], weight)
    found = fitted(TwoStageLeastSquares(), X, y, Z, sample_weight=weight)
    np.testing.assert_allclose(found.first_stage_statistic_, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def kernel_fits():
    """KernelIVRegressor where the controls are written in several ways."""
    X, y, Z = design(60, strength=1.0)
    names = ("as they are", "other units", "the other category", "single precision")
    return X, {
        name: fitted(KernelIVRegressor(**FAST), X, y, SAME_SPAN[name](Z)) for name in names
    }


def test_the_kernel_estimator_finds_exogenous_columns_by_their_span(kernel_fits):
    X, fits = kernel_fits
    plain = fits["as they are"]
    for name, model in fits.items():
        assert list(model.endogenous_) == [True, False, False], name
        np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(
            model.first_stage_statistic_, plain.first_stage_statistic_, rtol=1e-2, err_msg=name
        )


def test_the_kernel_estimator_judges_endogenous_columns_jointly():
    X, y, Z = two_endogenous(240)
    with pytest.warns(WeakInstrumentWarning, match="below 10"):
        found = KernelIVRegressor(**FAST).fit(X[:, :2], y, Z=Z[:, :3])
    assert found.first_stage_strength_ < 0.05
    assert partial_f(X[:, 0], np.zeros((240, 0)), Z[:, :3]) > 50


def test_more_instruments_than_samples_make_nothing_exogenous():
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(20, 2)), rng.normal(size=(20, 40))
    model = TwoStageLeastSquares(alpha=1.0)
    assert fitted(model, X, X[:, 0], Z).endogenous_.all()
    copied = np.column_stack([Z, 3 - 2 * X[:, 1]])
    assert list(fitted(model, X, X[:, 0], copied).endogenous_) == [True, False]


@pytest.mark.parametrize("alpha", [1e-3, 10.0, 100.0])
def test_a_ridge_has_no_band(alpha):
    X, y, Z = design()
    model = fitted(TwoStageLeastSquares(alpha=alpha), X, y, Z)
    with pytest.raises(ValueError, match="alpha"):
        model.confidence_band(X)
    with pytest.raises(ValueError, match="alpha"):
        model.set_params(alpha=0.0).confidence_band(X)  # what counts is the fit
    lower, upper = fitted(model, X, y, Z).confidence_band(X)
    assert (lower < upper).all()


def test_a_binary_instrument_says_little_of_a_shape():
    rng = np.random.default_rng(0)
    z, w, v = rng.integers(2, size=120), rng.normal(size=120), rng.normal(size=120)
    X = np.column_stack([2.0 * z + v, w])
    y = X[:, 0] + w + v
    model = KernelIVRegressor(n_components=20, max_iter=2, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, Z=np.column_stack([z, w]))
    texts = [str(w.message) for w in caught if w.category is WeakInstrumentWarning]
    assert any("take 2 different values" in text and "1 slope, " in text for text in texts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit((X[:, :1] > 1) * 1.0, y, Z=z[:, None])  # as many values as the treatment has
    assert not any("values" in str(w.message) for w in caught)


def schooling(seed, strength, n=400):
    """Controls of different kinds that explain much of the treatment, and one instrument."""
    rng = np.random.default_rng(seed)
    years = rng.integers(0, 24, n).astype(float)
    groups = (rng.random((n, 3)) < [0.25, 0.7, 0.4]).astype(float)
    z, u = rng.normal(size=n), rng.normal(size=n)
    x = np.round(17 - 0.35 * years + groups @ [-0.8, 0.7, -0.5] + strength * z + 1.5 * u)
    y = 0.1 * x + 0.03 * years + groups @ [-0.2, 0.15, -0.1] + 0.2 * u + 0.2 * rng.normal(size=n)
    controls = np.column_stack([years, groups])
    return np.column_stack([x, controls]), y, np.column_stack([z, controls])


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_weak_whatever_the_controls_explain(seed):
    """A first stage of better lengthscales must not credit the instrument with the controls."""
    model = KernelIVRegressor(n_components=30, random_state=0)
    X, y, Z = schooling(seed, 0.0)
    with pytest.warns(WeakInstrumentWarning, match=r"anderson_rubin\(\) of kbo.TwoStage"):
        model.fit(X, y, Z=Z)
    assert model.first_stage_statistic_ < 5
    X, y, Z = schooling(seed, 0.5)  # the F of the regression is about 45
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeakInstrumentWarning)
        model.fit(X, y, Z=Z)
    assert 10 < model.first_stage_statistic_ < 80


def test_a_treatment_among_the_instruments_is_told():
    X, y, Z = schooling(0, 1.0, n=60)
    for model in (TwoStageLeastSquares(), KernelIVRegressor(**FAST)):
        with pytest.warns(UserWarning, match="every column of X is a combination of Z"):
            model.fit(X, y, Z=np.column_stack([Z, X[:, 0]]))
