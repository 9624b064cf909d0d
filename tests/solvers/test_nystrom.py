"""Nyström, Falkon and full conjugate gradients against the exact solver and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.solvers import Exact, Falkon, FullCG, Nystrom
from kbo.solvers._newton.workspace import Workspace
from tests import helpers
from tests.solvers.common import assert_same, evaluate, kernel_problem, slow_but


@pytest.mark.parametrize("loss", slow_but("squared", "logistic", "multinomial"))
def test_nystrom_with_all_points_is_exact(loss, x64):
    problem, omega = kernel_problem(loss)
    points = np.concatenate([problem.at(omega).inner.x, problem.outer_data.x])
    found = evaluate(problem, omega, Nystrom(points, tol=1e-12))
    assert_same(found, evaluate(problem, omega, Exact()), 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("loss", slow_but("squared", "multinomial"))
@pytest.mark.parametrize("solver", [Nystrom(12), Falkon(12), FullCG(rank=5)])
def test_folds_are_solved_together(solver, loss, x64):
    problem, omega = helpers.folds_problem(loss, n=90)
    step = 1e-4 if loss == "huber" else 1e-3  # a longer one crosses a kink
    report = kbo.check_hypergradient(problem, omega, solver=solver, step=step)
    assert report.ok
    assert report.relative_error < 1e-6
    assert report.adjoint_identity < 1e-6
    if not isinstance(solver, FullCG):  # these draw their centres from each fold's own points
        return
    alone = [
        evaluate(problem.replace(
            inner_data=kbo.Sample(problem.inner_data.x, problem.inner_data.target, train),
            outer_data=kbo.Sample(problem.inner_data.x, problem.inner_data.target, test),
        ), omega, solver).value
        for train, test in zip(problem.inner_data.weights, problem.outer_data.weights, strict=True)
    ]
    counts = np.asarray(problem.outer_data.weights).sum(1)
    together = evaluate(problem, omega, solver).value
    np.testing.assert_allclose(together, alone @ counts / counts.sum(), rtol=1e-7)


@pytest.mark.parametrize(
    "space", ["laplacian", *(pytest.param(s, marks=pytest.mark.slow)
                             for s in ("matern52", "sum_scaled", "callable", "linear"))]
)
@pytest.mark.parametrize("solver", [Nystrom, Falkon])
def test_hypergradients_of_subspaces(solver, space, x64):
    problem, omega = helpers.everything_problem(space, "squared")
    step = 1e-5 if space == "laplacian" else 1e-3
    # Not at the points: they move with ω, and some of these kernels have a kink at distance 0.
    z = np.random.default_rng(3).normal(size=(9, helpers.D))
    report = kbo.check_hypergradient(problem, omega, solver=solver(z, tol=1e-10), step=step)
    assert report.relative_error < 1e-6


@pytest.mark.parametrize("solver", [Nystrom(10), Falkon(10), FullCG(rank=10)])
def test_extremes_are_a_status_never_nan(solver, x64):
    problem, omega = helpers.folds_problem()
    for ridge in (1e-14, 1e-9, 1e6):
        hg = evaluate(problem.replace(ridge=ridge), omega, solver, throw=False)
        assert not np.isnan(hg.value)
        assert not np.isnan(helpers.flat(hg.grad)).any()
    indefinite = problem.replace(
        space=kbo.RKHS(lambda a, b: -jnp.exp(-jnp.sum((a - b) ** 2))), ridge=1e-3
    )
    hg = evaluate(indefinite, omega, solver, throw=False)
    assert not hg.status.ok
    assert not np.isnan(hg.value)


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Nystrom(40), Falkon(40), FullCG(rank=40)])
def test_float32_data_are_solved_in_float64(solver):
    """A float32 Gram matrix of the normal equations would not be positive definite."""
    rng = np.random.default_rng(0)
    x, x_out = rng.normal(size=(300, 3)), rng.normal(size=(100, 3))
    f = lambda z: np.sin(z.sum(1))

    def find(dtype):
        problem = kbo.BilevelProblem(
            kbo.losses.Squared(), kbo.losses.Squared(),
            kbo.Sample(x.astype(dtype), f(x).astype(dtype)),
            kbo.Sample(x_out.astype(dtype), f(x_out).astype(dtype)),
            lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))), lambda w: jnp.exp(w["r"]),
        )
        return evaluate(problem, {"l": 0.5, "r": np.log(1e-6)}, solver)

    single = find(np.float32)
    with jax.enable_x64(True):
        double = find(np.float64)
    np.testing.assert_allclose(single.value, double.value, rtol=1e-3)
    np.testing.assert_allclose(helpers.flat(single.grad), helpers.flat(double.grad), rtol=1e-2, atol=1e-7)
    assert np.isfinite(single.error_bound)
    np.testing.assert_allclose(single.inner(x_out[:5]), f(x_out[:5]), atol=0.2)


def test_tuning_at_scale_is_reproducible_and_resumes(tmp_path, x64):
    problem, omega = helpers.folds_problem("logistic", n=120)
    run = lambda solver, **options: kbo.minimize(
        problem, omega, solver=solver, optimizer=kbo.optimizers.LBFGS(max_steps=6), **options
    )
    exact = run(Nystrom(30))
    again = run(Nystrom(30))
    assert exact.value == again.value
    assert abs(run(Falkon(30)).value - exact.value) < 1e-6
    stopped = []
    path = tmp_path / "run.npz"
    run(Nystrom(30), checkpoint=path, callback=lambda r: (stopped.append(r), r.step == 2)[1])
    resumed = run(Nystrom(30), checkpoint=path)
    assert resumed.value == exact.value
    np.testing.assert_array_equal(helpers.flat(resumed.omega), helpers.flat(exact.omega))


@pytest.mark.parametrize("solver", [Nystrom, Falkon])
def test_blocks_that_are_not_stored_share_one_compilation(solver, x64):
    def traces(n):
        count = []

        def kernel(x, z):
            count.append(1)
            return jnp.exp(-jnp.sum((x - z) ** 2))

        x = np.random.default_rng(0).normal(size=(n, 2))
        problem = kbo.BilevelProblem(
            kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, x[:, 0]),
            kbo.Sample(x[:50] + 0.1, x[:50, 0]), kbo.RKHS(kernel), lambda w: jnp.exp(w),
        )
        kbo.value_and_hypergradient(problem, -2.0, solver=solver(x[:9], memory=0))
        return len(count)

    assert traces(4000) == traces(600)  # eight blocks and two


def test_a_factor_keeps_its_coordinates_when_that_of_another_fold_changes(x64, monkeypatch):
    problem, omega = helpers.folds_problem(n=60)
    solver = Nystrom(12).fixed(problem.at(omega))
    instance = solver.restrict(problem).at(omega)
    system = solver.system(instance, Workspace())
    F, n = system.weights.shape
    curvatures = np.broadcast_to(system.weights[:, :, None, None], (F, n, 1, 1)).copy()
    monkeypatch.setattr("kbo.solvers.nystrom.SAFE", 0.0)  # factors of whitened systems
    system.factorise(range(F), curvatures)
    monkeypatch.setattr("kbo.solvers.nystrom.SAFE", np.inf)  # not whitened
    curvatures[1] *= 0.5
    system.factorise([1], curvatures)
    rhs = np.random.default_rng(0).normal(size=(F, system.size, 1))
    rest = system.apply(system.solve(rhs), curvatures) - rhs
    assert np.linalg.norm(rest) < 1e-6 * np.linalg.norm(rhs)
