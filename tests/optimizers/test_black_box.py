"""Searches without gradients."""

import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.optimizers import BayesianSearch, GridSearch, RandomSearch
from kbo.search.checkpoint import EvaluationLog
from kbo.solvers import QuasiNewton
from tests.helpers import logistic_regression
from tests.optimizers.common import Recording, logistic

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("make", [
    lambda seed: GridSearch(9), lambda seed: RandomSearch(25, seed),
    lambda seed: BayesianSearch(25, seed),
])
def test_black_boxes_find_a_good_point_of_the_box(make, tmp_path):
    if isinstance(make(0), BayesianSearch):
        pytest.importorskip("optuna", reason="optuna is not installed")
    problem, bounds = logistic_regression()
    settings = {"bounds": bounds, "optimizer": make(0)}
    best = kbo.minimize(problem, -6.0, bounds=bounds)
    found = kbo.minimize(problem, -6.0, checkpoint=tmp_path / "c.npz", **settings)
    assert 0 <= found.value - best.value < 2e-2 * best.value
    assert found.status is kbo.Status.STEPS_EXHAUSTED
    values = [record.value for record in found.history]
    assert values == sorted(values, reverse=True)
    assert np.isfinite(found.grad_norm)
    assert all(record.grad_norm == np.inf for record in found.history[:-1])
    assert found.n_evaluations == (9 if isinstance(make(0), GridSearch) else 25) + 2
    again = kbo.minimize(problem, -6.0, checkpoint=tmp_path / "c.npz", **settings)
    assert again.value == found.value and again.omega == found.omega
    other = kbo.minimize(problem, -6.0, **{**settings, "optimizer": make(1)})
    assert (other.value == found.value) == isinstance(make(0), GridSearch)


def test_a_search_needs_a_box_and_bears_failures():
    problem, bounds = logistic_regression()
    with pytest.raises(ValueError, match="finite bounds"):
        kbo.minimize(problem, -6.0, optimizer=GridSearch(3))
    broken = problem.replace(outer_loss=lambda w, v, y: jnp.where(w > 0, jnp.nan, v**2))
    for optimizer in (GridSearch(5), RandomSearch(8)):
        found = kbo.minimize(broken, -6.0, bounds=bounds, optimizer=optimizer)
        assert np.isfinite(found.value) and found.n_rejected > 0


@pytest.mark.parametrize(
    "search", [GridSearch(6), RandomSearch(6), BayesianSearch(6)], ids=lambda s: type(s).__name__
)
def test_values_alone_are_never_loosened(search, x64):
    if isinstance(search, BayesianSearch):
        pytest.importorskip("optuna", reason="optuna is not installed")
    seen = []
    kbo.minimize(
        logistic(), 0.0, bounds=(-8.0, 2.0), optimizer=search,
        solver=Recording(tol=1e-9, loose=1e-2, seen=seen),
        method=kbo.hypergradients.Parametric(),
    )
    assert len(seen) >= 7 and set(seen) == {1e-9}


def test_a_search_by_values_resumes_exactly_before_its_gradient(x64, tmp_path, monkeypatch):
    """The log's values alone must keep the last evaluation, with its gradient, from being loose."""
    search = lambda path: kbo.minimize(
        logistic(), 0.0, bounds=(-8.0, 2.0), optimizer=RandomSearch(6), checkpoint=path,
        solver=QuasiNewton(tol=1e-9, loose=1e-1), method=kbo.hypergradients.Parametric(),
    )
    whole = search(tmp_path / "whole")
    append = EvaluationLog.append

    def killing(self, *args):
        if len(self) == whole.n_evaluations - 1:
            raise KeyboardInterrupt
        append(self, *args)

    monkeypatch.setattr(EvaluationLog, "append", killing)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed")
    monkeypatch.undo()
    resumed = search(tmp_path / "killed")
    assert resumed.value == whole.value and resumed.grad_norm == whole.grad_norm
