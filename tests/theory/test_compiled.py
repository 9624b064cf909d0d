"""Compiled estimates are the plain ones."""

import numpy as np
import pytest

import kbo
import theory
from theory import estimators, problems


@pytest.mark.parametrize(
    "make", [problems.logistic_weights, pytest.param(problems.poisson_rates, marks=pytest.mark.slow)]
)
def test_the_compiled_estimate_is_the_plain_one(make):
    problem = make(ridge=0.1)
    sample = problem.sample(120, 90, 3)
    points = np.random.default_rng(0).uniform(*problem.box, (4, 2))
    centers = np.linspace(-1, 1, 80)[:, None]
    compiled = theory.compiled.Compiled(centers)(sample, False)
    plain = estimators.Plain(kbo.solvers.Nystrom(centers))(sample, False)
    values, grads = compiled.remembering(points.shape[1]).values_and_grads(points)
    expected = plain.values_and_grads(points)
    np.testing.assert_allclose(values, expected[0], atol=1e-8)
    np.testing.assert_allclose(grads, expected[1], atol=1e-8)
    value, grad = compiled.value_and_grad(points[2])
    assert value == pytest.approx(values[2], rel=1e-12)
    np.testing.assert_allclose(grad, grads[2], rtol=1e-10)
    moving = sample.replace(ridge=lambda w: w[0] ** 2)
    with pytest.raises(ValueError, match="fixed space and ridge"):
        theory.compiled.Compiled(points[:, :1])(moving, False)
