"""Rows that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kbo.hypergradients.sampling import on_rows
from tests import helpers


def test_parts_keep_shared_points_shared_and_draw_the_same_rows_each_time(x64):
    problem, omega = helpers.folds_problem("squared")
    omega = jax.tree.map(jnp.asarray, omega)
    assert problem.at(omega).shared
    together, again = (on_rows(problem, (18, 18), [0], together=True) for _ in range(2))
    assert together.at(omega).shared
    np.testing.assert_array_equal(together.outer_data.x, again.inner_data.x)
    assert together.inner_data.size == 18 < problem.inner_data.size
    apart = on_rows(problem, (18, 18), [0])
    assert not np.array_equal(apart.inner_data.x, apart.outer_data.x)
    with pytest.raises(ValueError, match="draw more"):
        on_rows(problem, (1, 1), [0], together=True)
