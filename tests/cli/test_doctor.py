"""``kbo doctor``, ``--version`` and what shells complete."""

import dataclasses

import pytest

import kbo
from kbo.cli import main


def test_the_doctor_names_versions_and_tests_a_hypergradient(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in (kbo.__version__, "jaxlib", "cores", "device", "a hypergradient is right: off by"):
        assert word in text


def test_a_wrong_hypergradient_is_told(capsys, monkeypatch):
    right = kbo.hypergradients.Implicit.evaluate

    def wrong(self, *arguments, **options):
        found = right(self, *arguments, **options)
        grad = {k: 1.01 * v for k, v in found.grad.items()}
        return dataclasses.replace(found, grad=grad)

    monkeypatch.setattr(kbo.hypergradients.Implicit, "evaluate", wrong)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert "A HYPERGRADIENT IS WRONG" in said.out
    assert "report" in said.err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"kbo {kbo.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(shell, capsys):
    with pytest.raises(SystemExit):
        main(["--print-completion", shell])
    text = capsys.readouterr().out
    for word in ("tune", "predict", "doctor", "--target", "--coverage"):
        assert word in text
