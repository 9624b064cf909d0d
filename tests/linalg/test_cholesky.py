"""The Cholesky factorisation and its jitter."""

import numpy as np
import pytest

from kbo import linalg


def test_jitter_is_explicit_and_reported(x64):
    matrix = np.ones((5, 5)) - 1e-13 * np.eye(5)
    assert linalg.Cholesky(lambda: matrix.copy()).jitter > 0
    assert linalg.Cholesky(lambda: np.eye(5)).jitter == 0
    with pytest.raises(linalg.SingularSystem):
        linalg.Cholesky(lambda: -np.eye(5))
    with pytest.raises(linalg.SingularSystem):
        linalg.Cholesky(lambda: np.full((2, 2), np.nan))
