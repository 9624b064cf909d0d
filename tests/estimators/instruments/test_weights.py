"""Weights of samples say which count more: their scale says nothing, and zero leaves one out."""

import numpy as np
import pytest

from kbo.estimators import DeepFeatureIV, FuncIVRegressor, KernelIVRegressor, TwoStageLeastSquares
from kbo.metrics import projected_mse

pytestmark = [
    pytest.mark.filterwarnings("ignore::kbo.estimators.WeakInstrumentWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
SCALES = (1000.0, 3.2e5, None)  # None: weights that sum to one
NETWORK = {"max_iter": 2, "inner_iter": 2, "random_state": 0}
ESTIMATORS = {
    "linear": TwoStageLeastSquares(),
    "ridge": TwoStageLeastSquares(alpha=5.0),
    "kernel": KernelIVRegressor(max_iter=2, n_components=30, cv=2, random_state=0),
    "functional": FuncIVRegressor(**NETWORK),
    "deep": DeepFeatureIV(**NETWORK),
}


def data(n=60, seed=0):
    rng = np.random.default_rng(seed)
    z, w, v = rng.normal(size=(n, 2)), rng.normal(size=n), rng.normal(size=n)
    x = z @ [1.0, 0.5] + 0.5 * w + v
    y = 1 + 2 * x + w + 0.8 * v + 0.5 * rng.normal(size=n)
    return np.column_stack([x, w]), y, np.column_stack([z, w]), rng.uniform(0.2, 3, n)


def numbers(model, X):
    """All that a fit says: predictions, coefficients, errors, ridges, strengths."""
    found = {name: value for name, value in vars(model).items() if name.endswith("_")}
    kept = {
        name: np.asarray(value, float) for name, value in found.items()
        if isinstance(value, (float, np.ndarray)) and np.asarray(value).dtype.kind == "f"
    }
    return {**kept, "predictions": model.predict(X)}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_scale_of_weights_says_nothing(name):
    X, y, Z, weight = data()
    model = ESTIMATORS[name]
    expected = numbers(model.fit(X, y, Z=Z, sample_weight=weight), X)
    rtol = 1e-3 if name in ("functional", "deep") else 1e-5  # single precision
    for scale in SCALES:
        scaled = weight / weight.sum() if scale is None else scale * weight
        found = numbers(model.fit(X, y, Z=Z, sample_weight=scaled), X)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(
                found[key], value, rtol=rtol, atol=rtol * max(1e-9, abs(value).max()), err_msg=key
            )
    unweighted = numbers(model.fit(X, y, Z=Z), X)["predictions"]
    equal = numbers(model.fit(X, y, Z=Z, sample_weight=np.full(len(X), 1e-3)), X)["predictions"]
    np.testing.assert_allclose(equal, unweighted, rtol=rtol, atol=rtol)
    assert abs(unweighted - expected["predictions"]).max() > 1e-3  # and weights say something


@pytest.mark.parametrize("name", ["linear", "ridge", "kernel"])
def test_a_sample_without_weight_is_left_out(name):
    X, y, Z, weight = data()
    kept = np.arange(60) % 3 > 0
    split = lambda rows: [(rows[::2], rows[1::2]), (rows[1::2], rows[::2])]
    where = {"cv": split(np.flatnonzero(kept)), "n_components": 60} if name == "kernel" else {}
    model = ESTIMATORS[name].set_params(**where)
    expected = numbers(model.fit(X, y, Z=Z, sample_weight=weight * kept), X)
    where = {"cv": split(np.arange(kept.sum()))} if name == "kernel" else {}
    part = (values[kept] for values in (X, y, Z))
    X_part, y_part, Z_part = part
    found = numbers(
        model.set_params(**where).fit(X_part, y_part, Z=Z_part, sample_weight=weight[kept]), X
    )
    for key in ("predictions", "first_stage_statistic_", "first_stage_strength_"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_the_projected_error_has_no_scale_of_weights(alpha):
    X, y, Z, weight = data()
    errors = [
        projected_mse(y, X[:, 0], Z=Z, sample_weight=w, alpha=alpha)
        for w in (weight, 1000 * weight, weight / weight.sum())
    ]
    np.testing.assert_allclose(errors, errors[0], rtol=1e-8)
