"""The command and its reports."""

import numpy as np
import pytest

import theory
from theory import reproduce


def test_options_that_an_experiment_does_not_use_are_refused(tmp_path, capsys):
    from theory.__main__ import main

    code = main(["reproduce", "inner-accuracy", "--sizes", "20", "--output", str(tmp_path)])
    assert code == 2
    assert "does not use ['sizes']" in capsys.readouterr().err


@pytest.mark.slow
def test_reproduce_writes_a_report(tmp_path, capsys):
    from theory.__main__ import main

    assert main(["list"]) == 0
    assert "kbo-neurips2025" in capsys.readouterr().out
    assert main(["reproduce", "inner-accuracy", "--repeats", "2", "--output", str(tmp_path)]) == 0
    assert "| implicit | +2.0" in (tmp_path / "report.md").read_text()
    code = main([
        "reproduce", "kbo-neurips2025", "--sizes", "20", "40", "60", "--repeats", "6", "--inputs",
        "gaussian", "--output", str(tmp_path),
    ])
    assert code == 0
    text = (tmp_path / "report.md").read_text()
    for word in ("kbo_paper_iv, Gaussian", "sup_grad", "| grad |", "Outside the theorem"):
        assert word in text
    assert (tmp_path / "gaussian.png").read_bytes().startswith(b"\x89PNG")
    assert theory.Records.load(tmp_path / "gaussian.json").errors["value"][20, 20].shape == (6, 1)
    arguments = ["--sizes", "20", "40", "60", "--repeats", "5", "--output", str(tmp_path)]
    assert main(["reproduce", "networks", *arguments]) == 0
    assert "| a_l2 | " in (tmp_path / "report.md").read_text()
    assert theory.Records.load(tmp_path / "networks.json").errors["a_l2"][20, 20].shape == (5, 1)


def test_the_reproduction_draws_a_start_anew_in_each_repeat(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "PAPER_QUANTITIES", ("value",))
    found = reproduce.kbo_neurips2025(
        tmp_path, sizes=(16, 20, 24), repeats=20, inputs=("gaussian",), progress=False
    )
    starts = np.array(found["gaussian"].about["omega"])
    assert starts.shape == (20, 4) and len(np.unique(starts, axis=0)) == 20
    assert ((starts >= 0) & (starts <= 1)).all()
    assert "ω₀ anew" in (tmp_path / "report.md").read_text()
