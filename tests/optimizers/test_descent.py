"""Means of the last iterates."""

import numpy as np
import optax
import pytest

import kbo
from tests import helpers
from tests.search.common import regularised


def test_the_mean_of_the_last_iterates_is_closer_than_the_last_where_steps_are_noisy():
    """Of ω ← ω − s(ω + e), e ~ N(0, 1): variances s/2 and 1/T, the mean of T steps."""
    rng = np.random.default_rng(0)
    q, share, steps = 400, 0.5, 400
    evaluate = lambda at: (at @ at / 2, at + rng.normal(size=q))
    seen = []
    optimizer = kbo.optimizers.Optax(optax.sgd(0.1), steps, tol=0.0, average=share)
    wide = np.full(q, np.inf)
    status = optimizer.run(evaluate, seen.append, np.zeros(q), -wide, wide)
    assert status is kbo.Status.STEPS_EXHAUSTED
    assert len(seen) == steps + 1
    np.testing.assert_allclose(seen[-1], np.mean(seen[200:-1], 0), atol=1e-12)
    assert np.mean(seen[-2] ** 2) == pytest.approx(0.1 / 1.9, rel=0.3)
    assert np.mean(seen[-1] ** 2) == pytest.approx(1 / 200, rel=0.3)


def test_where_values_do_not_compare_the_mean_is_the_result(x64):
    found = kbo.datasets.make_bilevel_quadratics(
        n_samples=64, size=10, outer_size=5, random_state=0
    )
    result = kbo.minimize(
        found.problem, found.omega0, key=0,
        method=kbo.hypergradients.SOBA(rate=0.1, inner_size=16, outer_size=16),
        optimizer=kbo.optimizers.Optax(optax.sgd(0.1), max_steps=10, average=0.4),
    )
    last = [helpers.flat(record.omega) for record in result.history[-5:-1]]
    np.testing.assert_allclose(helpers.flat(result.omega), np.mean(last, 0), rtol=1e-12)
    assert result.n_steps == 11


def test_a_mean_that_is_worse_is_not_the_result(x64):
    """Where values compare, the lowest iterate is."""
    optimizer = kbo.optimizers.Optax(optax.adam(0.05), max_steps=20, average=0.9)
    result = kbo.minimize(*regularised(), optimizer=optimizer)
    values = [record.value for record in result.history]
    assert len(values) == 22
    assert result.value == min(values) < values[-1]


@pytest.mark.parametrize("average", [1.0, -0.1, np.nan])
def test_averages_are_shares(average):
    with pytest.raises(ValueError, match=r"average=.* share"):
        kbo.optimizers.Optax(optax.sgd(0.1), average=average)
