"""Designs with an instrument: what is drawn, what is confounded, what is true."""

import inspect
import pickle
from itertools import product

import numpy as np
import pytest
from scipy import stats

from kbo import datasets

SMALL = {
    datasets.make_iv_sigmoid: {"n_samples": 50, "n_test": 9},
    datasets.make_iv_linear: {"n_samples": 50, "n_test": 9},
    datasets.make_iv_demand: {"n_samples": 50},
    datasets.make_iv_dsprites: {"n_samples": 50, "resolution": 16},
}
WIDTHS = {  # columns of X and Z, test points
    datasets.make_iv_sigmoid: (1, 1, 9), datasets.make_iv_linear: (1, 1, 9),
    datasets.make_iv_demand: (3, 3, 2800), datasets.make_iv_dsprites: (256, 3, 588),
}
MAKERS = pytest.mark.parametrize("make", list(SMALL), ids=lambda make: make.__name__)
ARRAYS = ("X", "y", "Z", "X_test", "y_test")


def same(a, b, names=ARRAYS):
    return all(np.array_equal(a[name], b[name]) for name in names)


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


@MAKERS
def test_shapes_and_truth(make):
    data = make(**SMALL[make], random_state=0)
    d, q, tests = WIDTHS[make]
    shapes = {"X": (50, d), "y": (50,), "Z": (50, q), "X_test": (tests, d), "y_test": (tests,)}
    for name, shape in shapes.items():
        assert data[name].shape == shape and data[name].dtype == np.float64
        assert np.isfinite(data[name]).all() and data[name].flags.writeable
    np.testing.assert_array_equal(data.y_test, data.true_function(data.X_test))
    assert inspect.getdoc(make) == data.DESCR
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.true_function(data.X), data.true_function(data.X))


@MAKERS
def test_seeds(make):
    draw = lambda seed: make(**SMALL[make], random_state=seed)
    one = draw(3)
    assert same(one, draw(3)) and same(one, draw(np.int64(3)))
    assert same(one, draw(np.random.RandomState(3)))  # as everywhere in scikit-learn
    assert same(draw(np.random.default_rng(3)), draw(np.random.default_rng(3)))
    other = draw(4)
    assert not same(one, other, ["y"]) and same(one, other, ["X_test", "y_test"])
    random = np.random.RandomState(3)
    assert not same(draw(random), draw(random), ["y"])
    assert not same(draw(None), draw(None), ["y"])
    with pytest.raises(ValueError, match="seed"):
        draw("three")


@MAKERS
@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "many", None])
def test_bad_sizes(make, bad):
    for name in set(SMALL[make]):
        with pytest.raises(ValueError, match=rf"{name}={bad!r}.*give an int"):
            make(**{**SMALL[make], name: bad})


@pytest.mark.parametrize("make, response", [
    (datasets.make_iv_sigmoid, lambda x: np.log(np.abs(16 * x - 8) + 1) * np.sign(x - 0.5)),
    (datasets.make_iv_linear, lambda x: 4 * x - 2),
])
def test_one_treatment(make, response):
    data = make(100_000, 1000, random_state=0)
    x, z = data.X[:, 0], data.Z[:, 0]
    np.testing.assert_allclose(data.true_function(data.X), response(x), atol=1e-12)
    np.testing.assert_array_equal(data.X_test[:, 0], np.linspace(0, 1, 1000))
    for uniform in (x, z):
        assert stats.kstest(uniform[:5000], "uniform").pvalue > 1e-3
    e = data.y - response(x)
    V = np.sqrt(2) * stats.norm.ppf(x) - stats.norm.ppf(z)
    np.testing.assert_allclose(
        np.cov([e, V, stats.norm.ppf(z)]), [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], atol=0.02
    )
    assert stats.kstest(e[:5000], "norm").pvalue > 1e-3
    assert correlation(e, x) > 0.3 and abs(correlation(e, z)) < 0.02 and correlation(x, z) > 0.6


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9, 1.0])
def test_demand(rho):
    data = datasets.make_iv_demand(100_000, rho, random_state=0)
    p, t, s = data.X.T
    c = data.Z[:, 0]
    np.testing.assert_array_equal(data.Z[:, 1:], data.X[:, 1:])
    psi = 2 * ((t - 5) ** 4 / 600 + np.exp(-4 * (t - 5) ** 2) + t / 10 - 2)
    truth = 100 + (10 + p) * s * psi - 2 * p
    np.testing.assert_allclose(data.true_function(data.X), truth)
    e, v = data.y - truth, p - 25 - (c + 3) * psi
    np.testing.assert_allclose(np.cov([e, v, c]), [[1, rho, 0], [rho, 1, 0], [0, 0, 1]], atol=0.02)
    assert abs(correlation(e, t)) < 0.02 and abs(correlation(e, s)) < 0.02
    assert set(s) == set(range(1, 8)) and 0 <= t.min() < 0.01 and 9.99 < t.max() <= 10
    grid = list(product(np.linspace(10, 25, 20), np.linspace(0, 10, 20), range(1, 8)))
    np.testing.assert_allclose(data.X_test, grid)


@pytest.mark.parametrize("rho", [1.01, -2, np.nan, "half", None, True])
def test_bad_rho(rho):
    with pytest.raises(ValueError, match=r"rho=.*give a number between -1 and 1"):
        datasets.make_iv_demand(10, rho)
