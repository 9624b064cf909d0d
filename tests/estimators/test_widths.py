"""Columns of zeros beside those of a table: compiled programs are shared, and no model changes."""

import numpy as np
import pytest

from kbo import KernelBilevelClassifier, KernelBilevelRegressor, kernels, programs
from kbo.estimators._common import widths
from kbo.estimators._common.widths import Widths

rng = np.random.default_rng(0)
X = rng.normal(size=(70, 7))
X[:, 2] = rng.integers(0, 2, 70)
Y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + 0.3 * rng.normal(size=70)
MIXED = kernels.Gaussian(lengthscale=np.full(5, 2.0)) + kernels.Matern12(np.full(5, 1.0)) * 0.3


def without(monkeypatch):
    monkeypatch.setattr(widths, "bucket_of_columns", lambda d: d)


@pytest.mark.parametrize(
    "choice", [
        {}, {"ard": False}, {"ard": [0, 0, 1, 2, 2]}, {"kernel": ["linear", "gaussian"]},
        {"kernel": "polynomial", "criterion": "cv"}, {"kernel": MIXED}, {"prior": 0},
        {"solver": "nystrom", "n_centers": 30}, {"loss": "huber"}, {"tune": ["lengthscale"]},
        {"n_restarts": 1, "criterion": "gcv"},
    ], ids=str,
)
def test_models_are_the_same(choice, monkeypatch):
    choice = {"max_iter": 15, "random_state": 0} | choice
    padded = KernelBilevelRegressor(**choice).fit(X[:, :5], Y)
    assert Widths.of(padded.kernel_, 70, 5).padded == 6
    without(monkeypatch)
    plain = KernelBilevelRegressor(**choice).fit(X[:, :5], Y)
    assert padded.X_fit_.shape == plain.X_fit_.shape
    assert padded.n_parameters_ == plain.n_parameters_
    assert padded.criterion_ == pytest.approx(plain.criterion_, rel=1e-5)
    # Rounding decides where a flat search ends; it begins in the same way.
    for one, other in zip(padded.history_[:5], plain.history_[:5], strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-8)
        np.testing.assert_allclose(one["lengthscale"], other["lengthscale"], rtol=1e-5)
    np.testing.assert_allclose(padded.predict(X[:, :5]), plain.predict(X[:, :5]), atol=5e-3)


def test_classes_are_the_same(monkeypatch):
    padded = KernelBilevelClassifier(max_iter=8).fit(X[:, :5], Y > 1)
    without(monkeypatch)
    plain = KernelBilevelClassifier(max_iter=8).fit(X[:, :5], Y > 1)
    one, other = (model.predict_proba(X[:, :5]) for model in (padded, plain))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_values_are_the_same_with_columns_of_zeros(x64):
    for name in kernels.NAMED:
        kernel = kernels.NAMED[name](lengthscale=np.array([0.5, 2.0, np.inf, 1.0, 3.0]))
        if hasattr(kernel, "center"):
            kernel = type(kernel)(lengthscale=kernel.lengthscale, center=np.arange(5.0))
        known = Widths.of(kernel, 70, 5)
        assert known.padded == 6
        wide = np.asarray(known.kernel(kernel).matrix(*2 * [known.points(X[:, :5])]))
        np.testing.assert_allclose(wide, kernel.matrix(*2 * [X[:, :5]]), rtol=1e-12)
        same = known.own_kernel(known.kernel(kernel))
        np.testing.assert_array_equal(same.lengthscale, kernel.lengthscale)


def test_another_width_compiles_nothing():
    KernelBilevelRegressor(max_iter=3).fit(X[:, :5], Y).predict(X[:9, :5])
    before = programs.traces()
    KernelBilevelRegressor(max_iter=3).fit(X[:, [0, 1, 3, 4, 5, 6]], Y).predict(
        X[:9, [0, 1, 3, 4, 5, 6]]
    )
    assert programs.traces() == before


class Counting(kernels.Gaussian):
    """A kernel that depends on the number of columns."""

    def matrix(self, x, z):
        return super().matrix(x, z) / x.shape[1]


@pytest.mark.parametrize(
    "kernel", [
        kernels.Gaussian(lengthscale=1.0), Counting(np.ones(5)), lambda x, z: x @ z,
        kernels.Linear(np.ones(5), center=0.5), kernels.OnFeatures(kernels.Gaussian(1.0), (0,)),
    ],
)
def test_no_columns_are_added_where_a_kernel_might_see_them(kernel):
    assert Widths.of(kernels.as_kernel(kernel), 70, 5) == (5, 5)


def test_no_columns_are_added_to_long_tables_nor_where_errors_or_centres_are_asked_for():
    kernel = kernels.Gaussian(np.ones(5))
    assert Widths.of(kernel, widths.ROWS + 1, 5) == (5, 5)
    assert Widths.of(kernel, 70, 5, more=False) == (5, 5)
    model = KernelBilevelRegressor(standard_errors=True, criterion="loo", max_iter=5)
    assert model.fit(X[:, :5], Y).standard_errors_["lengthscale"].shape == (5,)


def test_buckets_exceed_the_width_by_half_at_most():
    sizes = [widths.bucket_of_columns(d) for d in range(1, 2000)]
    assert all(d <= size <= max(1.5 * d, d + 1) for d, size in enumerate(sizes, 1))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) <= 24
