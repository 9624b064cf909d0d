"""Values at the end of their range are found and said, and bounds move."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from kbo.estimators._common.bounds import at_bounds, bound_texts, moved_bounds, warn_of_bounds


def test_ends_are_found_in_numbers_and_arrays():
    low, high = at_bounds(np.array([0.0, 1e-8, 0.5, 1.0]), np.zeros(4), np.ones(4))
    np.testing.assert_array_equal(low, [True, True, False, False])
    np.testing.assert_array_equal(high, [False, False, False, True])
    assert bound_texts("alpha", np.log(1e-6), np.log(1e-6), 0.0) == [
        "alpha is at the lower end of its range, 1e-06"
    ]
    assert bound_texts("alpha", -3.0, np.log(1e-6), 0.0) == []
    (text,) = bound_texts("epsilon", np.array([0.2, 2.0]), 0.0, 2.0, shown=float)
    assert text == "epsilon[1] is at the upper end of its range, 2"
    many = bound_texts("lengthscale", np.zeros(7), 0.0, 1.0)
    assert len(many) == 4 and "4 more" in many[-1]


def test_one_warning_with_the_remedy():
    warn_of_bounds([], "widen it", stacklevel=1)
    with pytest.warns(ConvergenceWarning, match="a is at.*; b is at.*: widen it") as seen:
        warn_of_bounds(["a is at", "b is at"], "widen it", stacklevel=1)
    assert len(seen) == 1 and seen[0].filename == __file__


def test_a_bound_moves_where_the_value_lies():
    bounds = {"a": np.array([-1.0, -1.0]), "b": np.array(-2.0)}, {"a": np.ones(2), "b": np.array(2.0)}
    reaches = {"a": np.full(2, 9.0), "b": np.array(3.0)}
    assert moved_bounds({"a": np.zeros(2), "b": np.array(0.5)}, bounds, reaches) is None
    lower, upper = moved_bounds({"a": np.array([-1.0, 0.3]), "b": np.array(2.0)}, bounds, reaches)
    np.testing.assert_array_equal(lower["a"], [-10.0, -1.0])
    np.testing.assert_array_equal(upper["a"], [1.0, 1.0])
    assert (lower["b"], upper["b"]) == (-2.0, 5.0)
