"""Random small problems: the right answer or a clear error, never NaN."""

import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

from kbo import KernelBilevelClassifier, KernelBilevelRegressor

KINDS = ("float64", "float32", "int", "object", "pandas")


def convert(X, kind):
    if kind == "pandas":
        return pd.DataFrame(X, columns=[f"c{k}" for k in range(X.shape[1])])
    if kind == "int":
        return np.clip(np.round(X), -(2**62), 2**62).astype(int)
    return X.astype(kind)


def one_problem(seed):
    """Draw, fit, predict, and check the refit against a dense solve."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 14)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-8, 9) + 10.0 ** rng.integers(-3, 4)
    if rng.random() < 0.3:
        X[:, rng.integers(d)] = 3.0
    if rng.random() < 0.3:
        X[rng.integers(n)] = X[rng.integers(n)]
    y = rng.normal(size=n) * 10.0 ** rng.integers(-8, 9)
    if rng.random() < 0.1:
        y[:] = y[0]
    weight = rng.integers(0, 3, n) if rng.random() < 0.3 else None
    X = convert(X, KINDS[rng.integers(len(KINDS))])
    classify = rng.random() < 0.3
    options = {"max_iter": 2, "n_restarts": int(rng.random() < 0.2), "ard": bool(rng.random() < 0.7)}
    if classify:
        y = rng.integers(0, 2, n)
        model = KernelBilevelClassifier(loss=("squared", "logistic")[rng.integers(2)], **options)
    else:
        model = KernelBilevelRegressor(**options)
    try:
        model.fit(X, y, sample_weight=weight)
    except ValueError as error:
        # A clear error: it names what is wrong with so few samples, classes or weights.
        words = ("n_samples", "class", "split", "weight", "n_splits", "members")
        assert any(word in str(error) for word in words), error
        return "refused"
    predictions = model.predict(X)
    if classify:
        scores = model.decision_function(X)
        assert np.isfinite(model.predict_proba(X)).all()
        assert np.isfinite(scores).all()
        assert set(predictions) <= {0, 1}
        return "classified"
    assert np.isfinite(predictions).all()
    assert model.criterion_ <= model.criterion_start_
    X = np.asarray(X, dtype=np.float64)
    w = np.ones(n) if weight is None else weight.astype(float)
    kept = w > 0
    with jax.enable_x64(True):
        K = np.asarray(model.kernel_.matrix(jax.numpy.asarray(X), jax.numpy.asarray(X[kept])))
    mean = np.average(y, weights=w)
    A = K[kept] + np.diag(model.alpha_ / w[kept])
    expected = mean + K @ np.linalg.solve(A, y[kept] - mean)
    scale = np.abs(y - mean).max() * (1 + 1e-9 / model.alpha_) + np.abs(mean) * 1e-9
    np.testing.assert_allclose(predictions, expected, atol=1e-6 * scale, rtol=1e-9)
    return "regressed"


def check(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", DataConversionWarning)
        warnings.simplefilter("ignore", UserWarning)  # folds with fewer members than splits
        return one_problem(seed)


@settings(
    max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(seed=st.integers(0, 10**6))
def test_random_small_problems(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))  # of five hundred, for workers to share
def test_five_hundred_random_small_problems(part):
    first = 10**6 + 500 * part
    outcomes = [check(seed) for seed in range(first, first + 125)]
    assert outcomes.count("regressed") > 36
    assert outcomes.count("classified") > 9
