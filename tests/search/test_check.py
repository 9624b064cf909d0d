"""The report of check_hypergradient."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

import kbo
from tests import helpers


class Halved(kbo.hypergradients.Implicit):
    def evaluate(self, *args):
        result = super().evaluate(*args)
        return replace(result, grad=jax.tree.map(lambda g: 0.5 * g, result.grad))


def test_report_says_right_and_wrong(x64):
    problem, omega = helpers.everything_problem("gaussian", "logistic")
    report = kbo.check_hypergradient(problem, omega)
    assert report.ok
    assert report.relative_error < 1e-7
    assert report.adjoint_identity < 1e-9
    assert "is right" in str(report)

    wrong = kbo.check_hypergradient(problem, omega, method=Halved())
    assert not wrong.ok
    assert "WRONG" in str(wrong)


def test_a_method_without_a_bound_is_still_judged(x64):
    problem, omega = helpers.everything_problem("gaussian", "squared")

    class Zero(kbo.hypergradients.Implicit):
        def evaluate(self, *args):
            found = super().evaluate(*args)
            return replace(found, grad=jax.tree.map(np.zeros_like, found.grad), _bound=None)

    assert not kbo.check_hypergradient(problem, omega, method=Zero()).ok


def test_a_kink_nearby_is_no_fault(x64, monkeypatch):
    """Huber's curvature jumps where an error crosses its threshold, and with it ∇L."""
    x = np.random.default_rng(0).normal(size=(200, 1))
    t = np.sin(2 * x[:, 0]) + np.random.default_rng(1).normal(size=200)
    problem = kbo.BilevelProblem(
        kbo.losses.Huber(0.5), kbo.losses.Squared(), kbo.Sample(x[:150], t[:150]),
        kbo.Sample(x[150:], t[150:]), lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w[0]))),
        lambda w: jnp.exp(w[1]),
    )
    omega = np.array([-0.1223, -5.6887])  # a kink of L is 4e-4 away
    assert kbo.check_hypergradient(problem, omega).ok
    assert not kbo.check_hypergradient(problem, omega, method=Halved()).ok
    monkeypatch.setattr("kbo.search.check.SHORTER", ())
    assert not kbo.check_hypergradient(problem, omega).ok


def test_single_precision_decides_nothing():
    problem, omega = helpers.everything_problem("gaussian", "squared")
    with jax.enable_x64(False):
        report = kbo.check_hypergradient(problem, omega, method=Halved())
    assert "is right" not in str(report)
    assert "undecided" in str(report) and "jax_enable_x64" in str(report)
    assert report.verdict == "undecided" and not report.ok


def test_a_verdict_is_what_ok_says(x64):
    right = kbo.check_hypergradient(*helpers.everything_problem("gaussian", "squared"))
    assert right.verdict == "right" and right.ok
    rough = replace(right, dtype="float32", rounding=0.5)  # agrees, which says nothing
    assert rough.verdict == "undecided" and not rough.ok
    off = replace(right, relative_error=0.1)
    assert off.verdict == "wrong" and not off.ok
    assert replace(off, status=kbo.Status.TRUNCATED).verdict == "approximation"
