"""The program of few points finds what the host finds, and leaves to it what it cannot certify."""

import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.hypergradients import fused
from kbo.result import InvalidPoint, Status
from tests import helpers


def zero_weights():
    x, t, x_out, y = helpers.data(30)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, (2, 30))
    weights[0, :5] = 0.0
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, t, weights), kbo.Sample(x_out, y),
        lambda w: kbo.RKHS(kbo.kernels.Matern52(jnp.exp(w["length"]))),
        lambda w: jnp.exp(w["ridge"]), penalty=lambda w: 0.1 * w["length"] ** 2,
    )
    return problem, {"length": 0.2, "ridge": -3.0}


CASES = {
    "folds, at the same points": lambda: helpers.folds_problem("squared"),
    "several outputs": lambda: helpers.folds_problem("squared_vector"),
    "all that may depend on omega": lambda: helpers.everything_problem("gaussian", "squared"),
    "weights of zero": zero_weights,
}


@pytest.fixture
def found(monkeypatch):
    """What the program has found, and whether it was asked."""
    calls, evaluated = [], fused._evaluated
    monkeypatch.setattr(
        fused, "_evaluated", lambda *args: calls.append(evaluated(*args)) or calls[-1]
    )
    return calls


@pytest.mark.parametrize("case", CASES)
def test_it_finds_what_the_host_finds(case, found, monkeypatch, x64):
    problem, omega = CASES[case]()
    ours = kbo.value_and_hypergradient(problem, omega)
    assert len(found) == 1 and found[0].certified
    monkeypatch.setattr(fused, "LARGEST", 0)
    theirs = kbo.value_and_hypergradient(problem, omega)
    assert len(found) == 1
    assert ours.value == pytest.approx(theirs.value, rel=1e-11)
    np.testing.assert_allclose(
        helpers.flat(ours.grad), helpers.flat(theirs.grad), rtol=1e-8, atol=1e-11
    )
    points = np.random.default_rng(5).normal(size=(7, helpers.D))
    for name in ("inner", "adjoint"):
        np.testing.assert_allclose(
            getattr(ours, name)(points), getattr(theirs, name)(points), rtol=1e-7, atol=1e-10
        )
    assert ours.status is theirs.status is Status.CONVERGED
    assert ours.residuals.inner < 1e-9 and ours.residuals.adjoint < 1e-9
    assert ours.jitter == theirs.jitter == 0
    assert ours.error_bound < 1e-6


def test_what_it_cannot_certify_is_left_to_the_host(found, monkeypatch, x64):
    problem, omega = helpers.folds_problem("squared")
    x = problem.inner_data.x
    twice = np.concatenate([x[:15], x[:15]])  # K is singular
    sample = kbo.Sample(twice, problem.inner_data.target, problem.inner_data.weights)
    problem = problem.replace(inner_data=sample, outer_data=kbo.Sample(
        twice, problem.outer_data.target, problem.outer_data.weights))
    tiny = {**omega, "log_ridge": -45.0}
    ours = kbo.value_and_hypergradient(problem, tiny, throw=False)
    assert len(found) == 1 and not found[0].certified
    monkeypatch.setattr(fused, "LARGEST", 0)
    theirs = kbo.value_and_hypergradient(problem, tiny, throw=False)
    assert ours.value == theirs.value and ours.status is theirs.status and ours.jitter > 0
    np.testing.assert_array_equal(helpers.flat(ours.grad), helpers.flat(theirs.grad))


def test_what_is_not_its_own_is_not_asked_of_it(found, x64):
    squared, omega = helpers.folds_problem("squared")
    kbo.value_and_hypergradient(*helpers.folds_problem("logistic"))
    kbo.value_and_hypergradient(*helpers.everything_problem("features", "squared"))
    kbo.value_and_hypergradient(squared, omega, solver=kbo.solvers.FullCG())
    kbo.value_and_hypergradient(*helpers.folds_problem("squared", n=90))  # 3 times 90
    kbo.value_and_hypergradient(*helpers.everything_problem(m=2001))
    assert not found


def test_float32_is_left_to_the_host_which_factorises_in_float64(found):
    kbo.value_and_hypergradient(*helpers.folds_problem("squared"))
    assert not found


def test_an_invalid_ridge_is_named_by_the_host(found, x64):
    problem, omega = helpers.folds_problem("squared")
    with pytest.raises(InvalidPoint, match="ridge"):
        kbo.value_and_hypergradient(problem.replace(ridge=-1.0), omega)
    assert len(found) == 1


def test_many_points_are_for_accelerators_alone(found, monkeypatch, x64):
    problem, omega = helpers.folds_problem("squared", n=90)
    monkeypatch.setattr(fused, "_most", lambda x: fused.ON_DEVICE)  # as where x is on a GPU
    ours = kbo.value_and_hypergradient(problem, omega)
    assert len(found) == 1 and found[0].certified
    monkeypatch.undo()
    assert fused._most(np.zeros((2, 1))) == fused._most(jnp.zeros((2, 1))) == fused.LARGEST
    theirs = kbo.value_and_hypergradient(problem, omega)
    np.testing.assert_allclose(helpers.flat(ours.grad), helpers.flat(theirs.grad), rtol=1e-8)
