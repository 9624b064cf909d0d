"""Which columns share a lengthscale."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold

from kbo import KernelBilevelClassifier, KernelBilevelRegressor
from kbo.kernels import Gaussian
from tests.helpers import compilations

X, Y = load_diabetes(return_X_y=True)
X, Y = X[:60, :5] * 20, Y[:60]
CLASSES = (np.median(Y) < Y).astype(int)
START = KernelBilevelRegressor(tune=()).fit(X, Y).lengthscale_


@pytest.mark.parametrize("labels", [
    [3, 3, 0, 0, -1], np.array([0, 1, 0, 1, 0], np.int8), [7, 7, 7, 7, 7], np.arange(5),
])
@pytest.mark.parametrize(("estimator", "target"), [
    (KernelBilevelRegressor("gaussian", criterion="cv", max_iter=4), Y),
    (KernelBilevelClassifier(loss="squared", criterion="cv", max_iter=4), CLASSES),
])
def test_groups_of_columns_share_a_lengthscale(estimator, target, labels):
    model = clone(estimator.set_params(ard=labels)).fit(X, target)
    assert model.get_params()["ard"] is model.ard
    factor = model.lengthscale_ / START
    assert model.lengthscale_.shape == (5,)
    for a in range(5):
        for b in range(5):
            same = labels[a] == labels[b]
            assert (abs(np.log(factor[a] / factor[b])) < 1e-9) == same
    assert np.abs(np.log(factor)).max() > 1e-2  # they are tuned


def test_labels_of_every_kind_are_the_same_model_and_compile_once():
    fit = lambda labels: KernelBilevelRegressor("gaussian", ard=labels, max_iter=2).fit(X, Y)
    first = fit([0, 0, 1, 1, 2])
    found = compilations(lambda: fit([2, 0, 1, 2, 2]))  # other columns, as many groups
    assert not found, found
    np.testing.assert_array_equal(fit(np.array([9, 9, -4, -4, 30]) + 5).predict(X),
                                  fit([1, 1, 0, 0, 2]).predict(X))
    np.testing.assert_allclose(first.predict(X), fit([1, 1, 0, 0, 2]).predict(X), rtol=1e-6)
    each = KernelBilevelRegressor("gaussian", max_iter=2).fit(X, Y)
    np.testing.assert_allclose(fit(np.arange(5)).predict(X), each.predict(X), rtol=1e-9)


def test_labels_are_of_columns_within_additive_groups_too():
    model = KernelBilevelRegressor(
        "gaussian", ard=[0, 0, 1, 1, 1], groups=["a", "a", "a", "b", "b"], max_iter=4,
        standard_errors=True, cv=KFold(3),
    ).fit(X, Y)
    factor = model.lengthscale_ / (np.sqrt(np.array([3, 3, 3, 2, 2]) / 5) * START)
    np.testing.assert_allclose(factor[[0, 3]], factor[[1, 4]], rtol=1e-9)
    assert np.shape(model.standard_errors_["lengthscale_0"]) == (2,)
    assert np.shape(model.standard_errors_["lengthscale_1"]) == (1,)


@pytest.mark.parametrize("labels", [
    [0, 1], np.zeros((5, 1), int), [0.0, 1.0, 2.0, 3.0, 4.0], ["a"] * 5, None, 1, "yes",
    [True, False, True, False, True],
])
@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1, 1]])
def test_bad_labels_are_refused(labels, groups):
    with pytest.raises(ValueError, match="ard="):
        KernelBilevelRegressor("gaussian", ard=labels, groups=groups).fit(X, Y)


def test_labels_need_a_kernel_by_name():
    with pytest.raises(ValueError, match="kernels given by name"):
        KernelBilevelRegressor(Gaussian(), ard=[0, 0, 1, 1, 1]).fit(X, Y)
