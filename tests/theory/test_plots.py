"""Figures of records."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import theory
from tests.theory.common import made_up
from theory import problems


def test_several_records_in_axes_of_ones_own():
    _, axes = plt.subplots(1, 1)
    pair = {name: made_up(slope) for name, slope in (("one", -0.5), ("other", -0.25))}
    figure = theory.plot_rates(pair, ["grad"], axes=[axes])
    assert figure is axes.figure
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert any("one n^-0.5" in label for label in labels) and len(labels) == 3
    plt.close(figure)


@pytest.mark.slow
def test_sizes_apart():
    problem = problems.torus_regression(terms=10)
    records = theory.run_rate_experiment(problem, [(200, m) for m in (10, 40, 160)], 6)
    ax = theory.plot_rates(records).axes[0]
    assert ax.get_xlabel() == "m"
    np.testing.assert_array_equal(ax.containers[0].lines[0].get_xdata(), [10, 40, 160])
    records = theory.run_rate_experiment(problem, [(n, 4000) for n in (30, 60, 120, 240)], 40)
    assert theory.fit_rate(records).fluctuation.slope < -0.3
