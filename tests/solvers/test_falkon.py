"""Falkon against Nyström: values, cost, mixed precision and error bounds."""

import numpy as np
import pytest

import kbo
from kbo.solvers import Falkon, Nystrom
from tests import helpers
from tests.solvers.common import (
    ard_space,
    assert_same,
    evaluate,
    kernel_problem,
    ridge_of,
    slow_but,
)


@pytest.mark.parametrize("loss", slow_but("squared", "logistic", "huber"))
def test_falkon_is_nystrom(loss, x64):
    problem, omega = kernel_problem(loss, 150)
    reference = evaluate(problem, omega, Nystrom(30))
    assert_same(evaluate(problem, omega, Falkon(30)), reference, 1e-6)
    # Blocks that are not stored give the same, and so do replicates that share a pass.
    assert_same(evaluate(problem, omega, Falkon(30, memory=0)), reference, 1e-6)
    assert_same(evaluate(problem, omega, Nystrom(30, memory=0)), reference, 1e-8)


@pytest.fixture
def cg_iterations(monkeypatch):
    """Those of every run of conjugate gradients in a Subspace."""
    counts = []

    def counted(*arguments):
        found = kbo.linalg.conjugate_gradients(*arguments)
        counts.append(found[2])
        return found

    monkeypatch.setattr("kbo.solvers._newton.subspace_system.conjugate_gradients", counted)
    return counts


@pytest.mark.parametrize("loss", ["squared", pytest.param("logistic", marks=pytest.mark.slow)])
def test_falkon_in_a_search_solves_no_better_than_it_must(loss, x64, cg_iterations):
    problem, omega = kernel_problem(loss, 300)
    z = problem.at(omega).inner.x[:40]
    counts = []
    for solver in (Falkon(z, loose=0), Falkon(z)):
        cg_iterations.clear()
        optimizer = kbo.optimizers.LBFGS(max_steps=8)
        found = kbo.minimize(problem, omega, solver=solver, optimizer=optimizer, throw=False)
        counts.append(sum(cg_iterations) / found.n_evaluations)
        exact = evaluate(problem, found.omega, Nystrom(z)).value
        np.testing.assert_allclose(found.value, exact, rtol=1e-4)
    assert counts[1] < 0.8 * counts[0]


def test_warm_starts_of_falkon_change_the_cost_only(x64, cg_iterations):
    problem, omega = kernel_problem("squared", 300)
    cold = evaluate(problem, omega, Falkon(40))
    nearby = omega | {"log_ridge": omega["log_ridge"] + 1e-4}
    cg_iterations.clear()
    again = evaluate(problem, nearby, Falkon(40))
    fresh = sum(cg_iterations)
    cg_iterations.clear()
    warm = evaluate(problem, nearby, Falkon(40), state=cold.state)
    assert sum(cg_iterations) < fresh
    assert_same(warm, again, 1e-6)


def test_errors_of_the_solves_enter_the_value_as_a_product(x64):
    problem, omega = kernel_problem("squared", 300)
    exact = evaluate(problem, omega, Nystrom(40))
    rough = evaluate(problem, omega, Falkon(40, tol=1e-2))
    x = problem.outer_data.x
    gap = np.linalg.norm(rough.inner(x) - exact.inner(x)) / np.linalg.norm(exact.inner(x))
    assert gap > 1e-4
    assert abs(rough.value - exact.value) < 0.1 * gap * exact.value


@pytest.mark.parametrize("memory", [0, 400 * 30 * 5])
def test_blocks_in_float32_where_they_are_safe(memory, x64, monkeypatch):
    problem, omega = kernel_problem("logistic", 400)
    problem = problem.replace(space=lambda w: kbo.RKHS(kbo.kernels.Matern32(w["kernel"]["l"])))
    used = []
    rows = kbo.solvers._newton.rows.Rows
    normal_times = rows.normal_times
    monkeypatch.setattr(rows, "normal_times", lambda self, *arguments: (
        used.append(self._single), normal_times(self, *arguments))[1])
    reference = evaluate(problem, omega, Nystrom(30))
    for mixed, smallest_ridge, expected in ((True, 0, 0.3), (False, 0, 0), (True, -33, 0)):
        used.clear()
        at = omega | {"log_ridge": omega["log_ridge"] + smallest_ridge}
        found = evaluate(problem, at, Falkon(30, memory=memory, mixed=mixed, max_cg=50), throw=False)
        assert (np.mean(used) > expected) if expected else not any(used)
        if not smallest_ridge:
            assert_same(found, reference, 1e-6)


def random_problem(seed):
    rng = np.random.default_rng(seed)
    n, m, d = 40, 25, 1 + seed // 2 % 2  # few shapes, so few compilations
    x, x_out = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    f = lambda z: np.sin(z.sum(1)) + 0.1 * rng.normal(size=len(z))
    loss, make = [
        (kbo.losses.Squared(), lambda t: t), (kbo.losses.Logistic(), np.sign),
    ][seed % 2]  # named functions, not new lambdas: one compilation for all seeds
    problem = kbo.BilevelProblem(
        loss, loss, kbo.Sample(x, make(f(x))), kbo.Sample(x_out, make(f(x_out))),
        ard_space, ridge_of,
    )
    return problem, {"l": rng.normal(scale=0.3, size=d), "r": rng.uniform(-9, -1)}


def bound_and_error(seed):
    """error_bound of a Falkon stopped early, and its true error against the direct solver."""
    problem, omega = random_problem(seed)
    z = problem.inner_data.x[:12]
    loose = Falkon(z, tol=10.0 ** -np.random.default_rng(seed).integers(3, 7))
    found = evaluate(problem, omega, loose, throw=False)
    exact = evaluate(problem, omega, Nystrom(z, tol=1e-13))
    error = np.linalg.norm(helpers.flat(found.grad) - helpers.flat(exact.grad))
    return found.error_bound, error, np.linalg.norm(helpers.flat(exact.grad))


def assert_bounds_hold(seeds):
    ratios = []
    for seed in seeds:
        bound, error, size = bound_and_error(seed)
        noise = 1e-10 * size
        assert error <= bound + noise, (seed, error, bound)
        if error > noise:
            ratios.append(bound / error)
    assert np.median(ratios) <= 100, np.median(ratios)


@pytest.mark.slow
def test_error_bound_holds_for_stopped_solutions(x64):
    assert_bounds_hold(range(16))


@pytest.mark.slow
def test_error_bound_holds_on_forty_problems(x64):
    assert_bounds_hold(range(40))
