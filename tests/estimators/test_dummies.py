"""Columns of dummies are the category that they stand for, in any units and without any level."""

import numpy as np
import pandas as pd
import pytest

from kbo import KernelBilevelRegressor
from kbo.estimators._common.dummies import dummies

rng = np.random.default_rng(0)
N, LEVELS = 160, 4
LEVEL = rng.integers(0, LEVELS, N)
ONES = np.eye(LEVELS)[LEVEL]
NUMBER = rng.normal(size=(N, 2))
Y = np.sin(2 * NUMBER[:, 0]) + np.array([0.0, 1.0, -1.0, 0.5])[LEVEL] + 0.1 * rng.normal(size=N)
OTHER = (rng.random((N, 2)) < 0.5) * 1.0


@pytest.mark.parametrize("table, expected", [
    (ONES, [0, 0, 0, 0]),
    (ONES[:, 1:], [0, 0, 0]),
    (ONES[:, 2:], [0, 0]),  # of 160 rows 10 would be in both, were they independent
    (ONES[:120, 2:], [0, 1]),  # too few rows to tell
    (np.column_stack([ONES[:, 0] * (np.cumsum(ONES[:, 0]) < 4), ONES]), [0, 1, 1, 1, 1]),
    (np.eye(200)[:, [3, 50, 120]], [0, 1, 2]),  # rare flags
    (NUMBER[:2], [0, 1]),
    (np.column_stack([NUMBER[:, 0], ONES, OTHER]), [0, 1, 1, 1, 1, 5, 6]),
    (np.column_stack([OTHER[:, 0], 1 - OTHER[:, 0]]), [0, 0]),
    (np.column_stack([ONES, ONES[::-1]]), [0, 0, 0, 0, 4, 4, 4, 4]),
    (np.column_stack([ONES[:, :2], np.zeros(N), ONES[:, 2:]]), [0, 0, 2, 0, 0]),
    (np.column_stack([ONES[:, :2], np.where(LEVEL == 2, np.nan, 0), ONES[:, 3]]), [0, 0, 2, 0]),
    (5 - 3 * (1 - ONES), [0, 0, 0, 0]),
    (np.empty((3, 0)), []),
])
def test_which_columns_are_of_one_category(table, expected):
    np.testing.assert_array_equal(dummies(table), expected)


# A search of many steps would amplify rounding, which the order of the columns changes.
FEW_STEPS = {"criterion": "marginal_likelihood", "max_iter": 2}


@pytest.mark.parametrize("options", [{"tune": ()}, FEW_STEPS])
def test_dummies_are_their_category(options):
    frame = pd.DataFrame(NUMBER, columns=["a", "b"]).assign(level=LEVEL.astype(str))
    category = KernelBilevelRegressor(**options).fit(frame, Y)
    array = np.column_stack([NUMBER, ONES])
    model = KernelBilevelRegressor(**options).fit(array, Y)
    np.testing.assert_allclose(model.predict(array), category.predict(frame), rtol=1e-7)
    assert model.lengthscale_.shape == (6,)
    np.testing.assert_allclose(model.lengthscale_[2:], category.lengthscale_[2], rtol=1e-7)


def test_their_units_and_a_level_without_rows_do_not_matter():
    fit = lambda table: KernelBilevelRegressor(**FEW_STEPS).fit(table, Y).predict(table)
    array = np.column_stack([NUMBER, ONES])
    expected = fit(array)
    factor, shift = rng.uniform(0.5, 3, array.shape[1]), rng.normal(size=array.shape[1])
    np.testing.assert_allclose(fit(shift + factor * array), expected, rtol=1e-5)
    wider = np.column_stack([array[:, :4], np.zeros(N), array[:, 4:]])
    np.testing.assert_allclose(fit(wider), expected, rtol=1e-7)


def test_labels_of_ard_are_those_of_columns():
    array = np.column_stack([NUMBER, ONES])
    free = KernelBilevelRegressor(ard=np.arange(6), prior=0.0).fit(array, Y)
    assert len(np.unique(free.lengthscale_[2:])) == 4


@pytest.mark.slow
def test_hundreds_of_dummies_cost_little():
    lost = []
    for seed in range(3):
        draw = np.random.default_rng(seed)
        many = np.eye(200)[draw.integers(0, 200, 2 * N)]
        X = draw.normal(size=(2 * N, 4))
        y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + 0.3 * draw.normal(size=2 * N)
        score = lambda X, y=y: KernelBilevelRegressor().fit(X[:N], y[:N]).score(X[N:], y[N:])
        lost.append(score(X) - score(np.column_stack([X, many])))
    assert np.mean(lost) < 0.01
