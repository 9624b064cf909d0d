"""Quantities: what they share, and how exact a sup is."""

import numpy as np
import pytest

import kbo
import theory
from tests.theory.common import SIZES, noisy, recorded
from theory import problems
from theory.quantities import QUANTITIES


@pytest.mark.slow
def test_quantities_share_what_they_ask_for(monkeypatch):
    problem, calls = problems.logistic_weights(), []
    plain = kbo.value_and_hypergradient
    monkeypatch.setattr(kbo, "value_and_hypergradient", lambda *a, **k: calls.append(a) or plain(*a, **k))
    quantities = ["value", "grad", "sup_value", "sup_grad"]
    theory.run_rate_experiment(problem, [20], 2, quantities)
    truths = 2 + 2 * 25  # of the population
    assert len(calls) <= 1 + truths + 2 * (1 + 25)  # each sample is asked once for each point


@pytest.mark.parametrize("part", ["sup_value", "sup_grad"])
def test_the_interpolated_sup_says_how_exact_it_is(part):
    """Polynomials of degree four are exact; smooth functions are off by less than is said."""
    kind, side = QUANTITIES[part], np.array([1.0, 1.0])
    domain = theory.Records({"box": [-side, side], "quadratic": False}).domain
    nodes = kind._points(domain)
    fine = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), -1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    entries = 2 if part == "sup_grad" else 1
    for _ in range(20):
        frequency, phase = rng.uniform(0.3, 1.5, (2, entries)), rng.uniform(0, 6, entries)
        f = lambda x: np.exp(0.5 * np.sin(x @ frequency + phase))
        error = f(nodes).reshape(1, -1)
        off = abs(kind.magnitude(error, domain)[0] - np.linalg.norm(f(fine), axis=1).max())
        assert off <= kind.resolution(error, domain)[0] + 1e-3
    exact = np.tile(nodes[:, :1] ** 3 - nodes[:, 1:], entries).reshape(1, -1)
    assert kind.resolution(exact, domain)[0] < 1e-12
    assert kind.resolution(exact, theory.Records({"quadratic": True}).domain) is None


def test_the_fit_of_a_sup_says_how_exact_it_is():
    rng = np.random.default_rng(0)
    rows = {(n, n): n**-0.5 * rng.normal(size=(20, 25)) for n in SIZES}
    box = {"box": [[-1.0, -1.0], [1.0, 1.0]], "quadratic": False}
    fit = theory.fit_rate(recorded(rows, "sup_value", **box), "sup_value")
    assert fit.resolution > 0.1 and "interpolated" in str(fit)
    assert theory.fit_rate(recorded(noisy(lambda n: 0.0))).resolution is None
