"""Nyström, Falkon and full conjugate gradients against the exact solver and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo import linalg
from kbo.linalg import rp_cholesky
from kbo.solvers import Exact, Falkon, FullCG, Nystrom, centers
from tests import helpers

STRATEGIES = {
    "uniform": centers.Uniform, "kmeans": centers.KMeansPlusPlus, "leverage": centers.Leverage,
    "rpcholesky": centers.RPCholesky,
}


def slow_but(*quick):
    """The loss table, all but the named ones marked slow."""
    return [
        loss if loss in quick else pytest.param(loss, marks=pytest.mark.slow)
        for loss in helpers.LOSSES
    ]


def evaluate(problem, omega, solver, **options):
    return kbo.value_and_hypergradient(problem, omega, solver=solver, **options)


def assert_same(found, expected, tol):
    assert abs(found.value - expected.value) <= tol * abs(expected.value)
    a, b = helpers.flat(found.grad), helpers.flat(expected.grad)
    assert np.linalg.norm(a - b) <= tol * np.linalg.norm(b), np.linalg.norm(a - b)


def kernel_problem(loss, n=60, m=25):
    """Everything depends on ω but the points, which can then all be centres."""
    problem, omega = helpers.everything_problem("gaussian_ard", loss, n, m)
    x, t, _, _ = helpers.data(n, m)
    make = helpers.LOSSES[loss][1]
    sample = lambda w: kbo.Sample(
        x, make(t), jnp.ones(n).at[:4].set(jnp.exp(w["log_weights"]))
    )
    return problem.replace(inner_data=sample), omega


@pytest.mark.parametrize("loss", slow_but("squared", "logistic", "multinomial"))
def test_nystrom_with_all_points_is_exact(loss, x64):
    problem, omega = kernel_problem(loss)
    points = np.concatenate([problem.at(omega).inner.x, problem.outer_data.x])
    found = evaluate(problem, omega, Nystrom(points, tol=1e-12))
    assert_same(found, evaluate(problem, omega, Exact()), 1e-8)


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


@pytest.mark.parametrize("loss", slow_but("squared_vector", "logistic"))
def test_full_cg_is_exact(loss, x64):
    problem, omega = kernel_problem(loss, 150)
    reference = evaluate(problem, omega, Exact())
    assert_same(evaluate(problem, omega, FullCG(rank=20)), reference, 1e-6)
    assert_same(evaluate(problem, omega, FullCG(rank=150, memory=0)), reference, 1e-6)


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


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Nystrom, Falkon])
@pytest.mark.parametrize("loss", slow_but("logistic"))
def test_centres_can_be_learned(solver, loss, x64):
    problem, omega = helpers.everything_problem("gaussian", loss)
    omega["z"] = np.random.default_rng(0).normal(size=(5, helpers.D))
    report = kbo.check_hypergradient(problem, omega, solver=solver(lambda w: w["z"], tol=1e-10))
    assert report.relative_error < 1e-6
    hg = evaluate(problem, omega, solver(lambda w: w["z"]))
    assert np.abs(hg.grad["z"]).max() > 1e-4
    better = kbo.minimize(problem, omega, solver=solver(lambda w: w["z"]),
                          optimizer=kbo.optimizers.LBFGS(max_steps=5))
    assert better.value < hg.value


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_centres_are_distinct_seeded_and_better_than_chance_where_they_claim_to_be(strategy, x64):
    rng = np.random.default_rng(0)
    # A dense clump and a few outliers, which uniform draws miss.
    x = np.concatenate([0.05 * rng.normal(size=(380, 2)), 3 * rng.normal(size=(20, 2))])
    kernel = kbo.kernels.Gaussian(0.5)
    choose = lambda seed, name=strategy: STRATEGIES[name](25, seed=seed).select(
        kernel, jnp.asarray(x), 1e-4
    )
    chosen = choose(0)
    assert len(set(chosen)) == 25
    np.testing.assert_array_equal(chosen, choose(0))
    assert set(chosen) != set(choose(1))

    def left(chosen):
        K = np.asarray(kernel.matrix(jnp.asarray(x), jnp.asarray(x)))
        C = K[:, chosen]
        return np.trace(K - C @ np.linalg.solve(K[np.ix_(chosen, chosen)] + 1e-10 * np.eye(25), C.T))

    mean = lambda name: np.mean([left(choose(seed, name)) for seed in range(5)])
    if strategy != "uniform":
        assert mean(strategy) < 0.5 * mean("uniform")


def test_centres_come_from_inner_and_outer_points(x64):
    x = np.arange(10.0)[:, None]
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(),
        kbo.Sample(x, x[:, 0], np.r_[np.ones(5), np.zeros(5)]), kbo.Sample(x + 100, x[:, 0]),
        kbo.RKHS(kbo.kernels.Gaussian()), lambda w: jnp.exp(w),
    )
    fixed = Nystrom(15).fixed(problem.at(0.0))
    np.testing.assert_array_equal(
        np.sort(fixed.centers[:, 0]), np.r_[np.arange(5.0), np.arange(100.0, 110)]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"centers": 1000}, "fewer"), ({"centers": 0}, "n_centers"), ({}, "centers"),
        ({"centers": np.ones((2, 7))}, "centers"), ({"centers": np.full((2, 3), np.nan)}, "NaN"),
        ({"centers": np.ones((0, 3))}, "centers"),
    ],
)
@pytest.mark.parametrize("solver", [Nystrom, Falkon])
def test_bad_centres_name_the_argument(solver, arguments, message, x64):
    problem, omega = helpers.folds_problem()
    with pytest.raises(ValueError, match=message):
        evaluate(problem, omega, solver(**arguments))
    features, omega = helpers.everything_problem("features", "squared")
    with pytest.raises(ValueError, match="FeatureSpace"):
        evaluate(features, omega, solver(3))


def test_full_cg_needs_a_kernel(x64):
    with pytest.raises(ValueError, match="FeatureSpace"):
        evaluate(*helpers.everything_problem("features", "squared"), FullCG())


@pytest.mark.parametrize("solver", [Nystrom, Falkon])
def test_degenerate_centres_are_solved(solver, x64):
    """One centre, duplicates, a rank-deficient K_MM: right; the reference leaves duplicates out."""
    problem, omega = helpers.folds_problem()
    z = np.asarray(problem.inner_data.x[:4])
    one = evaluate(problem, omega, solver(z[:1]))
    assert np.isfinite(one.value)
    distinct = evaluate(problem, omega, solver(z))
    repeated = evaluate(problem, omega, solver(np.concatenate([z, z, z])))
    assert_same(repeated, distinct, 1e-6)
    linear = problem.replace(space=kbo.RKHS(kbo.kernels.Linear()))
    deficient = evaluate(linear, omega, solver(np.asarray(problem.inner_data.x)))
    np.testing.assert_allclose(deficient.value, evaluate(linear, omega, Exact()).value, rtol=1e-6)


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


def ard_space(w):
    return kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"])))


def ridge_of(w):
    return jnp.exp(w["r"])


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
def test_error_bound_holds_on_two_hundred_problems(x64):
    assert_bounds_hold(range(200))


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


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Nystrom(15), Falkon(15, tol=1e-12, loose=0)])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_points_on_disk_give_what_points_in_memory_give(solver, loss, tmp_path, x64, monkeypatch):
    import pandas as pd

    monkeypatch.setattr(kbo.hypergradients.streaming, "BLOCK", 64)  # several blocks
    rng = np.random.default_rng(0)
    x, x_out = rng.normal(size=(700, 3)), rng.normal(size=(90, 3))
    make = np.sign if loss == "logistic" else np.sin
    t, y = make(x.sum(1)), make(x_out.sum(1))
    weights = rng.uniform(0.5, 1.5, size=700)
    np.save(tmp_path / "x.npy", x)
    pd.DataFrame(x_out, columns=list("abc")).to_parquet(tmp_path / "x.parquet", row_group_size=40)
    mapped = kbo.Stream(np.load(tmp_path / "x.npy", mmap_mode="r"))
    table = kbo.Stream.from_parquet(tmp_path / "x.parquet")
    function = helpers.LOSSES[loss][0]

    def problem(inner, outer):
        return kbo.BilevelProblem(
            function, function, kbo.Sample(inner, t, weights), kbo.Sample(outer, y),
            ard_space, ridge_of, penalty=lambda w: 0.1 * w["r"] ** 2,
        )

    omega = {"l": 0.1 * np.arange(3), "r": -5.0}
    expected = evaluate(problem(x, x_out), omega, solver)
    found = evaluate(problem(mapped, table), omega, solver)
    assert_same(found, expected, 1e-9)
    assert found.error_bound == np.inf
    np.testing.assert_allclose(found.inner(x_out[:4]), expected.inner(x_out[:4]), rtol=1e-9)
    half = evaluate(problem(mapped, x_out), omega, solver)
    assert_same(half, expected, 1e-9)
    run = lambda inner: kbo.minimize(
        problem(inner, x_out), omega, solver=solver, optimizer=kbo.optimizers.LBFGS(max_steps=2),
        checkpoint=tmp_path / f"{type(inner).__name__}",
    )
    np.testing.assert_allclose(run(mapped).value, run(x).value, rtol=1e-8)
    for other in (Exact(), FullCG()):
        with pytest.raises(ValueError, match="Stream"):
            evaluate(problem(mapped, x_out), omega, other)


def test_bad_streams_are_refused(tmp_path, x64):
    with pytest.raises(ValueError, match="shape"):
        kbo.Stream(np.ones(3))
    bad = kbo.Stream(np.full((5, 2), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        bad.read(0, 2)


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


def test_a_low_rank_factor_stops_where_rounding_begins(x64):
    """Where pivots are few, the last block is rounding, and may be indefinite (8 of these seeds)."""
    for seed in (*range(20), 53, 129, 178, 196, 218, 283, 337, 519):
        rng = np.random.default_rng(seed)
        x, length = rng.uniform(-1, 1, (400, 1)), rng.uniform(0.25, 0.9)
        kernel = kbo.kernels.Gaussian(length) + 0.25 * kbo.kernels.Linear()
        pivots, F = rp_cholesky(kernel, x, 200, rng)
        K = np.exp(-((x - x.T) ** 2) / (2 * length**2)) + 0.25 * x * x.T
        assert np.abs(K - F @ F.T).max() < 1e-10
        assert F.shape == (400, len(pivots)) and len(pivots) < 50


class Broken(kbo.kernels.Kernel):
    """NaN between different points."""

    def evaluate(self, x, z):
        """See Kernel."""
        return jnp.where((x == z).all(), 1.0, jnp.nan)


def test_a_low_rank_factor_refuses_what_is_not_finite(x64):
    rng = np.random.default_rng(0)
    with pytest.raises(linalg.SingularSystem, match="finite"):
        rp_cholesky(Broken(), rng.normal(size=(80, 1)), 20, rng)
