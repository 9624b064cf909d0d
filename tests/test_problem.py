"""Problems that make no sense are refused by name."""

import numpy as np
import pytest

import kbo
from tests import helpers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ridge": 0.0}, "ridge"), ({"ridge": -1.0}, "ridge"), ({"ridge": np.nan}, "ridge"),
        ({"inner_loss": 3}, "inner_loss"), ({"inner_data": 3}, "inner_data"),
        ({"n_outputs": 0}, "n_outputs"), ({"colour": 1}, "colour"), ({"space": 3}, "space"),
    ],
)
def test_bad_problems_name_the_argument(change, message, x64):
    problem, omega = helpers.folds_problem()
    with pytest.raises(ValueError, match=message):
        kbo.value_and_hypergradient(problem.replace(**change), omega)


def test_bad_omega_is_refused(x64):
    problem, omega = helpers.folds_problem()
    for leaf in (np.nan, "x", 1j):
        with pytest.raises(ValueError, match="omega"):
            kbo.value_and_hypergradient(problem, {**omega, "log_ridge": leaf})


def test_points_of_another_dimension_are_refused(x64):
    problem, omega = helpers.folds_problem()
    hg = kbo.value_and_hypergradient(problem, omega)
    for x in (np.ones(3), np.ones((2, 1)), np.ones((2, 4))):
        with pytest.raises(ValueError, match="x has shape"):
            hg.inner(x)
    outer = kbo.Sample(np.ones((5, 1)), np.ones(5))
    with pytest.raises(ValueError, match="features"):
        kbo.value_and_hypergradient(problem.replace(outer_data=outer), omega)


def test_replicates_that_do_not_match_are_refused(x64):
    problem, omega = helpers.folds_problem()
    n = problem.inner_data.size
    two = kbo.Sample(problem.inner_data.x, problem.inner_data.target, np.ones((2, n)))
    for change in ({"outer_data": two}, {"ridge": np.ones(2)}):
        with pytest.raises(ValueError, match="replicates"):
            kbo.value_and_hypergradient(problem.replace(**change), omega)
    each = kbo.value_and_hypergradient(problem.replace(ridge=np.full(3, 0.05)), omega)
    same = kbo.value_and_hypergradient(problem.replace(ridge=0.05), omega)
    assert each.value == same.value
