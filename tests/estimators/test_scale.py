"""The spread of columns that hold wild cells."""

import numpy as np

from kbo.estimators._common.scale import center_and_spread


def test_the_spread_is_that_of_what_is_not_wild():
    rng = np.random.default_rng(0)
    n, one = 300, np.ones(300)
    normal = rng.normal(size=n)
    for wild in (10.0, 1e3, 1e6, -1e9, 1e15):
        column = normal.copy()
        column[7] = wild
        center, spread = center_and_spread(column[:, None], one)
        assert abs(center[0]) < 0.15 and 0.9 < spread[0] < 1.1
    for rare in (1, 2, 30, 150, 299):  # a dummy of any frequency, in any coding
        column = np.where(np.arange(n) < rare, 7.0, 4.0)
        np.testing.assert_allclose(center_and_spread(column[:, None], one)[1], 1.5)
    counts = np.where(np.arange(n) % 3 == 0, np.arange(n) % 7, 0).astype(float)
    np.testing.assert_allclose(center_and_spread(counts[:, None], one)[1], counts.std())
    np.testing.assert_array_equal(center_and_spread(np.full((n, 1), 0.1), one)[1], 0.0)
    weight = rng.integers(0, 4, n)
    repeated = np.repeat(normal, weight)[:, None]
    for ours, theirs in zip(
        center_and_spread(normal[:, None], weight.astype(float)),
        center_and_spread(repeated, np.ones(len(repeated))), strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
