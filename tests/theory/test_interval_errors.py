"""Intervals for one data set, without double precision for the process."""

import jax
import numpy as np
import pytest

import kbo
import theory
from theory import problems

W3 = np.array([0.3, -0.5, 0.8])
W2 = np.array([0.4, -0.3])


@pytest.mark.slow
def test_interval_errors_are_those_of_repeated_samples():
    problem = problems.huber_targets(ridge=0.05)
    values, errors = [], []
    for seed in range(150):
        sample = problem.sample(300, 300, seed)
        with jax.enable_x64(True):
            found = kbo.value_and_hypergradient(sample, W2)
        values.append(np.append(found.value, found.grad))
        if seed < 10:
            one = theory.hypergradient_interval(sample, W2)
            np.testing.assert_allclose(one.grad + one.grad_bias, found.grad, rtol=1e-8)
            errors.append(np.append(one.value_error, one.grad_error))
    ratio = np.mean(errors, 0) / np.std(values, 0, ddof=1)
    assert (ratio > 0.85).all() and (ratio < 1.18).all(), ratio


def test_interval_shapes():
    sample = problems.torus_regression(terms=10).sample(80, 60, 0)
    narrow, wide = (
        theory.hypergradient_interval(sample, W3, confidence=share, splits=0)
        for share in (0.5, 0.99)
    )
    spanned = theory.hypergradient_interval(
        sample, W3, confidence=0.5, splits=0, solver=kbo.solvers.Nystrom(60), step=1e-3
    )
    np.testing.assert_allclose(spanned.grad_interval, narrow.grad_interval, rtol=1e-4, atol=1e-6)
    assert wide.grad_interval.shape == (3, 2) and wide.covariance.shape == (3, 3)
    assert (np.diff(wide.grad_interval) > np.diff(narrow.grad_interval)).all()
    assert wide.value_interval[0] < wide.value < wide.value_interval[1]
