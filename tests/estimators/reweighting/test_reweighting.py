"""Sample weights learned from trusted samples."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import parametrize_with_checks

import kbo
from kbo import SampleReweightingClassifier, SampleReweightingRegressor
from kbo.estimators.reweighting.weights import weighting_problem

N, CLEAN = 1000, 100


def flipped_digits(noise, seed=0):
    """1,000 digits of which a share has wrong labels, 100 right ones, the rest to test on."""
    X, y = load_digits(return_X_y=True)
    random = np.random.default_rng(seed)
    order = random.permutation(len(X))
    X, y = X[order] / 16, y[order]
    wrong = np.zeros(len(X), bool)
    wrong[:N] = random.uniform(size=N) < noise
    noisy = np.where(wrong, (y + random.integers(1, 10, len(X))) % 10, y)
    trusted = np.arange(N + CLEAN) >= N
    part, rest = slice(0, N + CLEAN), slice(N + CLEAN, None)
    return X[part], noisy[part], trusted, wrong[part], (X[rest], y[rest])


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "auc"), [(0.25, 0.97), (0.5, 0.93)])
@pytest.mark.parametrize("seed", [0, 1])
def test_flipped_digits_are_told_from_clean_ones(noise, auc, seed):
    """And the final model is better than on all samples, the clean ones, or both."""
    X, y, trusted, wrong, test = flipped_digits(noise, seed)
    model = SampleReweightingClassifier().fit(X, y, trusted=trusted)
    weight = model.sample_weight_
    assert roc_auc_score(~wrong[~trusted], weight[~trusted]) >= auc
    assert (weight[trusted] == 1).all()
    assert model.criterion_ < model.criterion_start_
    rival = clone(model.estimator_)
    for rows in (~trusted, trusted, np.full(len(X), True)):
        assert model.score(*test) > rival.fit(X[rows], y[rows]).score(*test)


def test_two_classes():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[:300], np.array(["bad", "good"])[y[:300]]
    random = np.random.default_rng(0)
    trusted = np.arange(300) % 6 == 0
    wrong = (random.uniform(size=300) < 0.3) & ~trusted
    noisy = np.where(wrong, np.where(y == "bad", "good", "bad"), y)
    model = SampleReweightingClassifier(LogisticRegression()).fit(X, noisy, trusted=trusted)
    assert roc_auc_score(~wrong[~trusted], model.sample_weight_[~trusted]) > 0.95
    assert list(model.classes_) == ["bad", "good"]
    assert model.predict_proba(X).shape == (300, 2)
    assert model.decision_function(X).shape == (300,)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.slow
def test_regression_finds_spoiled_targets():
    X, y = load_diabetes(return_X_y=True)
    random = np.random.default_rng(0)
    trusted = np.arange(len(y)) % 5 == 0
    wrong = (random.uniform(size=len(y)) < 0.25) & ~trusted
    spoiled = np.where(wrong, y + 300, y)
    model = SampleReweightingRegressor().fit(X, spoiled, trusted=trusted)
    assert roc_auc_score(~wrong[~trusted], model.sample_weight_[~trusted]) > 0.75
    plain = clone(model.estimator_).fit(X, spoiled)
    assert model.score(X[~wrong], y[~wrong]) > plain.score(X[~wrong], y[~wrong])
    both = np.stack([spoiled, -spoiled], 1)
    two = SampleReweightingRegressor(Ridge()).fit(X, both, trusted=trusted)
    np.testing.assert_allclose(two.sample_weight_, model.sample_weight_, rtol=1e-3)
    assert two.predict(X).shape == (len(X), 2)


def test_hypergradient_of_the_weights(x64):
    """Against central differences, and the value against scikit-learn's weighted ridge."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(90, 3)), random.normal(size=90)
    weight = random.uniform(0.5, 2, 90)
    sides = [(X[:60], y[:60], weight[:60]), (X[60:], y[60:], weight[60:])]
    problem, start = weighting_problem(kbo.kernels.Linear(), 0.7, 0.02, *sides)
    omega = random.normal(size=start.shape)
    assert kbo.check_hypergradient(problem, omega).ok
    plain = Ridge(0.7, fit_intercept=False, solver="cholesky", tol=0)
    plain.fit(X[:60], y[:60], sample_weight=weight[:60] / (1 + np.exp(-omega[:60])))
    error = (plain.predict(X[60:]) - y[60:]) ** 2 / 2
    value = np.average(error, weights=weight[60:])
    value += 0.02 * np.average(omega[:60] ** 2, weights=weight[:60])
    assert kbo.value_and_hypergradient(problem, omega).value == pytest.approx(value, rel=1e-10)


SMALL = flipped_digits(0.3)[:3]
SMALL = tuple(part[-400:] for part in SMALL)


def learned(**settings):
    X, y, trusted = SMALL
    settings = {"estimator": RidgeClassifier(), **settings}
    return SampleReweightingClassifier(**settings).fit(X, y, trusted=trusted)


def test_every_option_matters():
    base = learned()
    spread = lambda model: np.ptp(model.sample_weight_[~SMALL[2]])
    assert spread(learned(penalty=1.0)) < spread(base) < spread(learned(penalty=1e-4))
    assert not np.allclose(learned(alpha=0.1).sample_weight_, base.sample_weight_)
    assert not np.allclose(learned(lengthscale=9.0).sample_weight_, base.sample_weight_)
    assert not np.allclose(learned(kernel="laplacian").sample_weight_, base.sample_weight_)
    assert learned(tol=0.1).n_iter_ < base.n_iter_
    with pytest.warns(ConvergenceWarning, match="step budget"):
        assert learned(max_iter=1).n_iter_ == 1
    nystrom = learned(solver="nystrom", n_centers=150, random_state=0)
    assert np.corrcoef(nystrom.sample_weight_, base.sample_weight_)[0, 1] > 0.9
    np.testing.assert_allclose(learned(device="cpu").sample_weight_, base.sample_weight_)


def test_callback_and_progress(capfd):
    seen = []
    model = learned(callback=lambda step: seen.append(step) or len(seen) == 2, verbose=1)
    assert len(model.history_) == 2
    assert set(seen[0]) == {"value", "grad_norm", "seconds"}
    assert "step/s" in capfd.readouterr().err


def test_trusted_samples_drawn():
    X, y, _ = SMALL
    draw = lambda seed, share: SampleReweightingClassifier(
        RidgeClassifier(), random_state=seed, trusted_fraction=share
    ).fit(X, y).trusted_
    assert draw(0, 0.1).sum() == 40
    assert draw(0, 0.3).sum() == 120
    np.testing.assert_array_equal(draw(0, 0.1), draw(0, 0.1))
    assert (draw(0, 0.1) != draw(1, 0.1)).any()


def test_trusted_is_sliced_by_cross_validation():
    X, y, trusted = SMALL
    model = SampleReweightingClassifier(RidgeClassifier())
    folds = KFold(3, shuffle=True, random_state=0)
    found = cross_validate(
        model, X, y, params={"trusted": trusted}, cv=folds, return_estimator=True,
        return_indices=True
    )
    for fitted, rows in zip(found["estimator"], found["indices"]["train"], strict=True):
        np.testing.assert_array_equal(fitted.trusted_, trusted[rows])


def test_zero_weight_is_absence():
    X, y, trusted = SMALL
    weight = np.ones(len(y))
    weight[::7] = 0
    kept = weight > 0
    zero = SampleReweightingClassifier(RidgeClassifier()).fit(X, y, weight, trusted)
    left = SampleReweightingClassifier(RidgeClassifier()).fit(X[kept], y[kept], None, trusted[kept])
    np.testing.assert_allclose(zero.sample_weight_[kept], left.sample_weight_, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "alpha"), ({"penalty": -1.0}, "penalty"), ({"tol": 0}, "tol"),
        ({"trusted_fraction": 1.0}, "trusted_fraction"), ({"max_iter": 0}, "max_iter"),
        ({"estimator": KNeighborsClassifier()}, "sample_weight"),
        ({"kernel": "nothing"}, "kernel"), ({"solver": "nothing"}, "solver"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        learned(**settings)


@pytest.mark.parametrize("trusted", [np.ones(400, bool), np.zeros(400, bool), [True], np.ones(400)])
def test_bad_trusted(trusted):
    with pytest.raises(ValueError, match="trusted"):
        SampleReweightingClassifier(RidgeClassifier()).fit(*SMALL[:2], trusted=trusted)


def test_what_the_final_estimator_lacks_is_lacking():
    model = learned()
    assert not hasattr(model, "predict_proba")
    assert model.decision_function(SMALL[0]).shape == (400, 10)


@parametrize_with_checks(
    [
        SampleReweightingClassifier(RidgeClassifier(), max_iter=3, trusted_fraction=0.3),
        SampleReweightingRegressor(Ridge(), max_iter=3, trusted_fraction=0.3),
    ],
    expected_failed_checks=lambda estimator: {
        name: "which samples are drawn as trusted depends on their order"
        for name in (
            "check_sample_weight_equivalence_on_dense_data",
            "check_sample_weight_equivalence_on_sparse_data",
        )
    },
)
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
