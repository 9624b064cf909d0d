"""Sweeps over families of problems."""

import numpy as np
import pytest

import theory
from theory import problems

W3 = np.array([0.3, -0.5, 0.8])


def test_sweeps_show_what_theory_says(tmp_path, capsys):
    family = {f"{r:g}": problems.torus_regression(1.0, r, terms=10) for r in (1e-1, 1e-3)}
    table = theory.run_sweep(family, 100, 20, omega=W3)
    assert table["effective dimension"].is_monotonic_increasing
    assert table["fluctuation"].is_monotonic_increasing
    from theory.__main__ import main

    arguments = ["--sizes", "60", "--repeats", "4", "--output", str(tmp_path)]
    assert main(["reproduce", "centres", *arguments]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "M = 40 " in text and "all points" in text
    assert main(["reproduce", "ridge-and-smoothness", *arguments]) == 0
    assert "s = 3, ridge 0.0001" in (tmp_path / "report.md").read_text()


def test_sweeps_of_norms_have_no_bias_and_unknown_ones_are_refused():
    family = {"one": problems.torus_regression(terms=5)}
    table = theory.run_sweep(family, 30, 4, "h_l2", omega=np.array([0.3, -0.5, 0.8]))
    assert table.bias[0] is None and table.fluctuation[0] is None and table.error[0] > 0
    with pytest.raises(ValueError, match="quantity='norm'"):
        theory.run_sweep(family, 30, 4, "norm")
    with pytest.raises(ValueError, match="family is empty"):
        theory.run_sweep({}, 30)
