"""Errors by the accuracy of inner solutions."""

import numpy as np
import pytest
from scipy import stats

import theory


@pytest.mark.slow
def test_errors_fall_with_inner_steps_and_tolerances_as_predicted():
    steps = theory.accuracy.inner_steps((4, 8, 16, 32), n_samples=2)
    found = theory.accuracy.exponents(steps, "K")
    predicted = steps.groupby("method").predicted.mean()
    for name in ("ITD, gradient descent", "AID, Neumann"):
        assert found[name].slope == pytest.approx(predicted[name], rel=0.3)
    cg = steps[(steps.method == "AID, CG") & (steps.K == 8)]
    assert (cg.error <= 2 * np.exp(8 * cg.predicted)).all()
    loose = theory.accuracy.tolerances((1e-1, 1e-3, 1e-5), n_samples=2)
    assert theory.accuracy.exponents(loose)["HOAG"].slope == pytest.approx(1, abs=0.25)


@pytest.mark.slow
def test_gradients_of_a_minimum_have_the_exponents_of_ablin_peyre_and_moreau():
    table = theory.accuracy.super_efficiency((20, 30, 40, 60), n_samples=3)
    found = theory.accuracy.exponents(table)
    assert found["analytic"].slope == pytest.approx(1, abs=0.1)
    assert 1.5 < found["automatic"].slope < 2
    assert found["implicit"].slope == pytest.approx(2, abs=0.1)


def test_exponents_of_one_sample_or_of_nan_are_refused():
    import pandas as pd

    table = pd.DataFrame({
        "method": "m", "seed": 0, "accuracy": [1e-1, 1e-2, 1e-3], "error": [1e-1, 1e-2, 1e-3],
    })
    with pytest.raises(ValueError, match="n_samples of 2"):
        theory.accuracy.exponents(table)
    both = pd.concat([table, table.assign(seed=1, error=table.error * 2)])
    found = theory.accuracy.exponents(both)["m"]
    assert found.slope == pytest.approx(1) and stats.norm.cdf(found.interval[0]) < 1
    with pytest.raises(ValueError, match="not finite"):
        theory.accuracy.exponents(both.assign(error=np.nan))
    with pytest.raises(ValueError, match="against='k'"):
        theory.accuracy.exponents(both, "k")
