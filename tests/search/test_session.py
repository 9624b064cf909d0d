"""Sessions move to other numbers, and a fit has one of them."""

import numpy as np
import pytest

import kbo
from kbo import programs
from kbo.hypergradients import Implicit
from kbo.search import session
from kbo.search.session import prepare
from tests.small import OMEGA, X, Y, problem


def test_a_session_moves_to_other_numbers_without_reading_or_compiling_again(x64):
    """Also where tracing has changed what a loss reads."""
    seen = []

    def loss(w, v, t):
        seen.append(1)
        return 0.5 * (v - t) ** 2

    first = problem(inner_loss=loss)
    with prepare(first, OMEGA, method=Implicit()) as known:
        known.evaluate()
        before = programs.traces()
        moved = known.of(first.replace(inner_data=kbo.Sample(X, 2 * Y))).evaluate()
        assert programs.traces() == before
    alone = kbo.value_and_hypergradient(problem(inner_data=kbo.Sample(X, 2 * Y)), OMEGA)
    assert moved.value == pytest.approx(alone.value, rel=1e-12)
    np.testing.assert_allclose(moved.grad, alone.grad, rtol=1e-9)


def test_a_fit_prepares_its_problem_once(monkeypatch):
    prepared, plain = [], session._prepared
    monkeypatch.setattr(session, "_prepared", lambda *a, **k: prepared.append(1) or plain(*a, **k))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    kbo.KernelBilevelRegressor(max_iter=1, n_restarts=1).fit(x, y)
    kbo.KernelBilevelClassifier(max_iter=1).fit(x, y > 0)
    assert len(prepared) == 2
    kbo.KernelIVRegressor(max_iter=1).fit(x, y, rng.normal(size=(40, 1)))  # one for each stage
    assert len(prepared) == 4
