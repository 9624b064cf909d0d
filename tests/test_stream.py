"""Points on disk."""

import numpy as np
import pytest

import kbo


def test_bad_streams_are_refused(tmp_path, x64):
    with pytest.raises(ValueError, match="shape"):
        kbo.Stream(np.ones(3))
    bad = kbo.Stream(np.full((5, 2), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        bad.read(0, 2)
