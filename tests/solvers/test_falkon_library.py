"""The falkon library behind kbo's interface, where it is installed."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.solvers import Falkon, FalkonLibrary
from tests import helpers


def test_a_missing_library_is_an_error_that_says_how_to_install_it(monkeypatch, x64):
    monkeypatch.setitem(sys.modules, "falkon", None)
    problem, omega = helpers.folds_problem()
    with pytest.raises(ImportError, match="FalkonML/falkon"):
        kbo.value_and_hypergradient(problem, omega, solver=FalkonLibrary(5))


@pytest.fixture
def _installed():
    pytest.importorskip("falkon", reason="the falkon library is not installed")


@pytest.mark.parametrize("loss", ["squared", "squared_vector", "logistic", "huber"])
@pytest.mark.parametrize("space", ["gaussian_ard", "matern52", "linear", "polynomial"])
def test_the_library_agrees_with_kbo(space, loss, _installed, x64):
    problem, omega = helpers.everything_problem(space, loss, 150, 40)
    z = np.random.default_rng(0).normal(size=(20, helpers.D))
    if space == "matern52":  # falkon's Matérn kernels take one lengthscale
        problem = problem.replace(
            space=lambda w: kbo.RKHS(kbo.kernels.Matern52(jnp.mean(w["kernel"]["l"])))
        )
    ours, theirs = (
        kbo.value_and_hypergradient(problem, omega, solver=solver(z))
        for solver in (Falkon, FalkonLibrary)
    )
    assert abs(theirs.value / ours.value - 1) <= 1e-4
    a, b = helpers.flat(theirs.grad), helpers.flat(ours.grad)
    assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


def test_what_the_library_lacks_is_refused(_installed, x64):
    for space, loss, message in (("periodic", "squared", "kernel"), ("gaussian", "multinomial", "couples")):
        problem, omega = helpers.everything_problem(space, loss)
        with pytest.raises(ValueError, match=message):
            kbo.value_and_hypergradient(problem, omega, solver=FalkonLibrary(5))
