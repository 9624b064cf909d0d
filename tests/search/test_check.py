"""The report of check_hypergradient."""

import jax
import numpy as np

import kbo
from tests import helpers


def test_report_says_right_and_wrong(x64):
    problem, omega = helpers.everything_problem("gaussian", "logistic")
    report = kbo.check_hypergradient(problem, omega)
    assert report.ok
    assert report.relative_error < 1e-7
    assert report.adjoint_identity < 1e-9
    assert "is right" in str(report)

    class Halved(kbo.hypergradients.Implicit):
        def evaluate(self, *args):
            from dataclasses import replace

            result = super().evaluate(*args)
            return replace(result, grad=jax.tree.map(lambda g: 0.5 * g, result.grad))

    wrong = kbo.check_hypergradient(problem, omega, method=Halved())
    assert not wrong.ok
    assert "WRONG" in str(wrong)


def test_a_method_without_a_bound_is_still_judged(x64):
    problem, omega = helpers.everything_problem("gaussian", "squared")

    class Zero(kbo.hypergradients.Implicit):
        def evaluate(self, *args):
            from dataclasses import replace

            found = super().evaluate(*args)
            return replace(found, grad=jax.tree.map(np.zeros_like, found.grad), _bound=None)

    assert not kbo.check_hypergradient(problem, omega, method=Zero()).ok
