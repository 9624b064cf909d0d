"""Samples that make no sense are refused by name."""

import numpy as np
import pytest

import kbo


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 2, 2)),), "shape"), ((np.ones((0, 2)),), "shape"),
        ((np.full((3, 1), np.nan),), "NaN"), ((np.ones((3, 1)), np.ones(2)), "target"),
        ((np.ones((3, 1)), np.array([1, np.inf, 0])), "target"),
        ((np.ones((3, 1)), None, np.ones(4)), "weights"),
        ((np.ones((3, 1)), None, [1, -1, 1]), "weights"),
        ((np.ones((3, 1)), None, np.zeros(3)), "weights"),
    ],
)
def test_bad_samples_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        kbo.Sample(*arguments)
