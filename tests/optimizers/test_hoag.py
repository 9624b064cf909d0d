"""HOAG solves loosely first, and ends where L-BFGS does."""

import numpy as np
import pytest

import kbo
from kbo.hypergradients import CG, LinearLBFGS, Parametric, Shine
from kbo.optimizers import HOAG, GradientDescent
from kbo.solvers import Exact, QuasiNewton
from tests.helpers import logistic_regression
from tests.optimizers.common import Recording, logistic

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": HOAG(), "solver": QuasiNewton(), "method": Parametric(CG(500))},
        {"optimizer": HOAG("quadratic", tol=1e-4), "solver": QuasiNewton(), "method": Parametric(LinearLBFGS(500))},
        {"optimizer": HOAG("cubic"), "solver": Exact()},
        {"optimizer": HOAG(lambda k: 0.8**k), "solver": QuasiNewton(prescribe=2),
         "method": Parametric(Shine(refine=2))},
    ],
)
def test_hoag_ends_where_lbfgs_does(settings):
    problem, bounds = logistic_regression()
    best = kbo.minimize(problem, -6.0, bounds=bounds)
    assert bounds[0] < best.omega < bounds[1]
    found = kbo.minimize(problem, -6.0, bounds=bounds, **settings)
    refined = isinstance(getattr(settings.get("method"), "linear_solver", None), Shine)
    ended = kbo.Status.ADJOINT_NOT_CONVERGED if refined else kbo.Status.CONVERGED
    assert found.status is ended  # two steps of refinement meet no tolerance
    assert found.value - best.value <= 1e-6
    values = [record.value for record in found.history]
    assert found.value == values[-1]


def test_hoag_solves_loosely_first():
    problem, bounds = logistic_regression()
    settings = {"optimizer": HOAG(max_steps=12), "method": Parametric(CG(500)), "bounds": bounds}
    loose = kbo.minimize(problem, -6.0, solver=QuasiNewton(), **settings)
    residuals = [record.residuals for record in loose.history]
    assert residuals[0].inner > 2 * residuals[-1].inner
    assert residuals[-1].adjoint <= 0.1 * 0.9**12 < residuals[0].adjoint <= 0.09
    # Where the optimiser asks for no accuracy the solver's own holds.
    strict = kbo.minimize(
        problem, -6.0, solver=QuasiNewton(), method=Parametric(CG(500)), bounds=bounds,
        optimizer=GradientDescent(max_steps=3),
    )
    assert strict.history[0].residuals.inner < 1e-4 * residuals[0].inner


def test_the_first_step_is_as_told():
    problem, bounds = logistic_regression()
    found = kbo.minimize(problem, -6.0, bounds=bounds, optimizer=HOAG(step=0.5, max_steps=1))
    grad = kbo.value_and_hypergradient(problem, -6.0, solver=Exact(tol=0.09)).grad
    assert found.history[1].omega == pytest.approx(-6.0 - 0.5 * grad, rel=1e-6)


def test_a_killed_search_resumes(tmp_path):
    problem, bounds = logistic_regression()
    settings = {
        "optimizer": HOAG(max_steps=15), "solver": QuasiNewton(prescribe=3),
        "method": Parametric(Shine()), "bounds": bounds,
    }
    whole = kbo.minimize(problem, -6.0, **settings)

    def kill(record):
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kbo.minimize(
            problem, -6.0, checkpoint=tmp_path / "c.npz", callback=kill, **settings,
        )
    resumed = kbo.minimize(problem, -6.0, checkpoint=tmp_path / "c.npz", **settings)
    assert resumed.value == whole.value and resumed.omega == whole.omega
    assert [r.value for r in resumed.history] == [r.value for r in whole.history]


def test_hoag_asks_for_its_schedule_and_gets_it(x64):
    """The k-th inner problem is solved to 0.1·0.9^k, and is not solved further."""
    seen = []
    found = kbo.minimize(
        logistic(), -6.0, bounds=(-8.0, 2.0), optimizer=HOAG(max_steps=12),
        solver=Recording(seen=seen), method=kbo.hypergradients.Parametric(),
    )
    asked = [0.1 * 0.9**k for k in range(1, 14)]
    assert any(np.isclose(tol, asked).any() for tol in seen)
    assert all(np.isclose(tol, asked).any() or tol == 1e-8 for tol in seen)
    first = found.history[0].residuals.inner
    start = kbo.value_and_hypergradient(
        logistic(), -6.0, solver=QuasiNewton(tol=1.0), method=kbo.hypergradients.Parametric()
    ).residuals.inner
    assert first <= asked[0] * start
