"""What the tests of several solvers share."""

import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from tests import helpers


def slow_but(*quick):
    """The loss table, all but the named ones marked slow."""
    return [
        loss if loss in quick else pytest.param(loss, marks=pytest.mark.slow)
        for loss in helpers.LOSSES
    ]


def evaluate(problem, omega, solver, **options):
    return kbo.value_and_hypergradient(problem, omega, solver=solver, **options)


def assert_same(found, expected, tol):
    assert abs(found.value - expected.value) <= tol * abs(expected.value)
    a, b = helpers.flat(found.grad), helpers.flat(expected.grad)
    assert np.linalg.norm(a - b) <= tol * np.linalg.norm(b), np.linalg.norm(a - b)


def kernel_problem(loss, n=60, m=25):
    """Everything depends on ω but the points, which can then all be centres."""
    problem, omega = helpers.everything_problem("gaussian_ard", loss, n, m)
    x, t, _, _ = helpers.data(n, m)
    make = helpers.LOSSES[loss][1]
    sample = lambda w: kbo.Sample(
        x, make(t), jnp.ones(n).at[:4].set(jnp.exp(w["log_weights"]))
    )
    return problem.replace(inner_data=sample), omega


def ard_space(w):
    return kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"])))


def ridge_of(w):
    return jnp.exp(w["r"])
