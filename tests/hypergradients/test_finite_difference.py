"""Finite differences and their orders."""

import numpy as np
import pytest

import kbo
from tests import helpers


@pytest.mark.parametrize("order", [2, 4])
def test_finite_difference_orders(order, x64):
    problem, omega = helpers.folds_problem()
    method = kbo.hypergradients.FiniteDifference(step=1e-2, order=order)
    error = helpers.flat(kbo.value_and_hypergradient(problem, omega, method=method).grad)
    error -= helpers.flat(kbo.value_and_hypergradient(problem, omega).grad)
    size = np.abs(error).max()
    assert (1e-8 < size < 1e-3) if order == 2 else size < 1e-7
    with pytest.raises(ValueError, match="order"):
        kbo.hypergradients.FiniteDifference(order=3)
    with pytest.raises(ValueError, match="step"):
        kbo.hypergradients.FiniteDifference(step=0.0)
