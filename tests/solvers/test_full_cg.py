"""Conjugate gradients on all points against the exact solver."""

import pytest

from kbo.solvers import Exact, FullCG
from tests import helpers
from tests.solvers.common import assert_same, evaluate, kernel_problem, slow_but


@pytest.mark.parametrize("loss", slow_but("squared_vector", "logistic"))
def test_full_cg_is_exact(loss, x64):
    problem, omega = kernel_problem(loss, 150)
    reference = evaluate(problem, omega, Exact())
    assert_same(evaluate(problem, omega, FullCG(rank=20)), reference, 1e-6)
    assert_same(evaluate(problem, omega, FullCG(rank=150, memory=0)), reference, 1e-6)


def test_full_cg_needs_a_kernel(x64):
    with pytest.raises(ValueError, match="FeatureSpace"):
        evaluate(*helpers.everything_problem("features", "squared"), FullCG())
