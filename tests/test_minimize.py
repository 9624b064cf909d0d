"""The outer loop: every optimiser, bounds, callbacks, checkpoints, statuses."""

import functools
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.search.checkpoint import EvaluationLog
from kbo.search.verbs import flat_bounds
from kbo.serial import write_atomically
from tests import helpers

OPTIMIZERS = {
    "lbfgs": kbo.optimizers.LBFGS(max_steps=200, tol=1e-7),
    "lbfgs_log": kbo.optimizers.LBFGS(max_steps=200, tol=1e-7, log=True, memory=5),
    "descent": kbo.optimizers.GradientDescent(step=32.0, max_steps=500, tol=1e-6),
    "optax": kbo.optimizers.Optax(optax.adam(0.05), max_steps=300, tol=1e-6),
}


@functools.cache
def regularised(loss="squared"):
    """A problem with an interior minimum, built (and so compiled) once."""
    import jax

    with jax.enable_x64(True):
        problem, omega = helpers.folds_problem(loss)
        pull = lambda w: 0.01 * ((w["log_ridge"] + 3) ** 2 + jnp.sum(w["log_l"] ** 2))
        return problem.replace(penalty=pull), omega


@pytest.fixture(scope="module")
def optimum():
    import jax

    with jax.enable_x64(True):
        return kbo.minimize(*regularised(), optimizer=OPTIMIZERS["lbfgs"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_finds_the_minimum(name, optimum, x64):
    result = kbo.minimize(*regularised(), optimizer=OPTIMIZERS[name])
    assert result.value <= optimum.value * (1 + 1e-5)
    assert result.value < 0.99 * result.history[0].value
    values = [record.value for record in result.history]
    assert result.value == min(values)
    if name != "optax":
        assert (np.diff(values) <= 1e-12).all()
    assert result.n_steps == len(result.history) - 1
    assert result.history[-1].seconds >= result.history[0].seconds > 0
    assert result.function(helpers.data()[0]).shape == (3, 24)


def test_two_runs_are_bit_identical(x64):
    a, b = (kbo.minimize(*regularised("logistic")) for _ in range(2))
    np.testing.assert_array_equal(helpers.flat(a.omega), helpers.flat(b.omega))
    assert [r.value for r in a.history] == [r.value for r in b.history]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bounds_hold(name, x64):
    problem, omega = regularised()
    lower = {"log_l": np.full(3, -0.1), "log_ridge": -4.0, "loss": 0.5}
    upper = {"log_l": np.full(3, 0.1), "log_ridge": -2.5, "loss": 0.7}
    result = kbo.minimize(problem, omega, bounds=(lower, upper), optimizer=OPTIMIZERS[name])
    for record in result.history:
        assert (helpers.flat(record.omega) >= helpers.flat(lower) - 1e-15).all()
        assert (helpers.flat(record.omega) <= helpers.flat(upper) + 1e-15).all()
    assert result.grad_norm <= 1e-4  # projected


def test_bad_bounds_are_refused(x64):
    problem, omega = regularised()
    for bounds in ((1.0, 2.0), (2.0, 1.0), 3.0, ({"log_l": 0.0}, 1.0)):
        with pytest.raises(ValueError, match="bounds"):
            kbo.minimize(problem, omega, bounds=bounds)


def test_steps_exhausted_says_what_to_do(x64):
    result = kbo.minimize(*regularised(), optimizer=kbo.optimizers.LBFGS(max_steps=1))
    assert result.status is kbo.Status.STEPS_EXHAUSTED
    assert "max_steps" in str(result.status)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_callback_sees_every_step_and_can_stop(name, x64):
    seen = []
    result = kbo.minimize(
        *regularised(), optimizer=OPTIMIZERS[name],
        callback=lambda record: seen.append(record) or record.step == 3,
    )
    assert [record.step for record in seen] == [0, 1, 2, 3]
    assert result.status is kbo.Status.STOPPED
    assert result.value == min(r.value for r in seen)


def test_progress_bar(x64, capsys):
    optimizer = kbo.optimizers.LBFGS(max_steps=2)
    kbo.minimize(*regularised(), optimizer=optimizer, progress=True)
    assert "kbo.minimize" in capsys.readouterr().err


def cliff_problem():
    """L is NaN beyond ω = 0.5, and falls on the way there."""
    x, t, x_out, y = helpers.data()
    return kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
        kbo.RKHS(kbo.kernels.Gaussian()), 1e-2,
        penalty=lambda w: jnp.where(w > 0.5, jnp.nan, 3.0 - w),
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_non_finite_steps_are_rejected(name, x64):
    optimizer = OPTIMIZERS[name]
    if name == "optax":
        optimizer = kbo.optimizers.Optax(optax.sgd(0.3), max_steps=30)
    if name == "descent":
        optimizer = kbo.optimizers.GradientDescent(max_steps=30)
    result = kbo.minimize(cliff_problem(), -1.0, optimizer=optimizer, throw=False)
    assert np.isfinite(result.value)
    assert all(np.isfinite(r.value) for r in result.history)
    assert -1.0 < float(result.omega) <= 0.5


def test_a_line_search_that_finds_nothing_is_a_failure_not_a_crash():
    evaluations = []

    def evaluate(point):
        evaluations.append(point.copy())
        if len(evaluations) == 4:
            return 1e3, np.full(2, 1e4)
        if len(evaluations) > 4:
            return np.inf, np.full(2, np.nan)
        return float(-point.sum()), np.array([-1.0, -1.0 / len(evaluations)])

    reported = []
    status = kbo.optimizers.LBFGS(max_steps=20).run(
        evaluate, reported.append, np.zeros(2), np.full(2, -50.0), np.full(2, 50.0)
    )
    assert status is kbo.Status.BLOCKED  # no point ahead has a value
    assert len(evaluations) > 5
    for point in reported:
        assert any((point == known).all() for known in evaluations[:3])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_start_without_a_value_throws_or_is_a_status(name, x64):
    with pytest.raises(kbo.BilevelError, match="not finite"):
        kbo.minimize(cliff_problem(), 1.0, optimizer=OPTIMIZERS[name])
    result = kbo.minimize(cliff_problem(), 1.0, optimizer=OPTIMIZERS[name], throw=False)
    assert result.status is kbo.Status.NON_FINITE
    with pytest.raises(kbo.BilevelError):
        result.function(np.zeros((1, 3)))


# -- averages ---------------------------------------------------------------------------------------


def test_the_mean_of_the_last_iterates_is_closer_than_the_last_where_steps_are_noisy():
    """Of ω ← ω − s(ω + e), e ~ N(0, 1): variances s/2 and 1/T, the mean of T steps."""
    rng = np.random.default_rng(0)
    q, share, steps = 400, 0.5, 400
    evaluate = lambda at: (at @ at / 2, at + rng.normal(size=q))
    seen = []
    optimizer = kbo.optimizers.Optax(optax.sgd(0.1), steps, tol=0.0, average=share)
    wide = np.full(q, np.inf)
    status = optimizer.run(evaluate, seen.append, np.zeros(q), -wide, wide)
    assert status is kbo.Status.STEPS_EXHAUSTED
    assert len(seen) == steps + 1
    np.testing.assert_allclose(seen[-1], np.mean(seen[200:-1], 0), atol=1e-12)
    assert np.mean(seen[-2] ** 2) == pytest.approx(0.1 / 1.9, rel=0.3)
    assert np.mean(seen[-1] ** 2) == pytest.approx(1 / 200, rel=0.3)


def test_where_values_do_not_compare_the_mean_is_the_result(x64):
    found = kbo.datasets.make_bilevel_quadratics(
        n_samples=64, size=10, outer_size=5, random_state=0
    )
    result = kbo.minimize(
        found.problem, found.omega0, key=0,
        method=kbo.hypergradients.SOBA(rate=0.1, inner_size=16, outer_size=16),
        optimizer=kbo.optimizers.Optax(optax.sgd(0.1), max_steps=10, average=0.4),
    )
    last = [helpers.flat(record.omega) for record in result.history[-5:-1]]
    np.testing.assert_allclose(helpers.flat(result.omega), np.mean(last, 0), rtol=1e-12)
    assert result.n_steps == 11


def test_a_mean_that_is_worse_is_not_the_result(x64):
    """Where values compare, the lowest iterate is."""
    optimizer = kbo.optimizers.Optax(optax.adam(0.05), max_steps=20, average=0.9)
    result = kbo.minimize(*regularised(), optimizer=optimizer)
    values = [record.value for record in result.history]
    assert len(values) == 22
    assert result.value == min(values) < values[-1]


@pytest.mark.parametrize("average", [1.0, -0.1, np.nan])
def test_averages_are_shares(average):
    with pytest.raises(ValueError, match=r"average=.* share"):
        kbo.optimizers.Optax(optax.sgd(0.1), average=average)


# -- checkpoints ------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np, optax, kbo
from tests import helpers
from tests.test_minimize import resumable
result = resumable(sys.argv[1], sys.argv[2], lambda record: time.sleep(0.02))
np.save(sys.argv[3], np.append(helpers.flat(result.omega), result.n_evaluations))
"""


def resumable(name, checkpoint, callback=None):
    problem, omega = regularised("logistic")
    solver = kbo.solvers.Falkon(10) if name == "lbfgs, falkon" else None
    optimizer = {
        "lbfgs": kbo.optimizers.LBFGS(max_steps=12),
        "lbfgs, parts": kbo.optimizers.LBFGS(max_steps=8, parts=(0.5, 0.8)),
        "lbfgs, falkon": kbo.optimizers.LBFGS(max_steps=12),
        "descent": kbo.optimizers.GradientDescent(max_steps=12),
        "optax": kbo.optimizers.Optax(optax.adam(0.05), max_steps=12),
        "optax, mean": kbo.optimizers.Optax(optax.adam(0.05), max_steps=12, average=0.5),
    }[name]
    return kbo.minimize(
        problem, omega, optimizer=optimizer, solver=solver, checkpoint=checkpoint,
        callback=callback, throw=False,
    )


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "name",
    [
        "lbfgs", "lbfgs, parts", "descent", "optax", "optax, mean",
        pytest.param("lbfgs, falkon", marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_anywhere_resumes_to_the_same_iterate(name, tmp_path, x64, monkeypatch):
    """Twenty kills at random evaluations, each in the middle of writing or just before."""
    whole = resumable(name, tmp_path / "whole")
    rng = np.random.default_rng(0)
    append = EvaluationLog.append
    for k in range(20):
        path = tmp_path / f"{k}"
        fatal = int(rng.integers(1, whole.n_evaluations))

        def killing(self, *args, fatal=fatal):
            if len(self) == fatal:
                raise Killed
            append(self, *args)

        monkeypatch.setattr(EvaluationLog, "append", killing)
        with pytest.raises(Killed):
            resumable(name, path)
        monkeypatch.setattr(EvaluationLog, "append", append)
        resumed = resumable(name, path)
        np.testing.assert_array_equal(helpers.flat(resumed.omega), helpers.flat(whole.omega))
        assert [r.value for r in resumed.history] == [r.value for r in whole.history]
        assert resumed.n_evaluations == whole.n_evaluations


def test_logs_grow_by_rows_and_lose_only_what_was_not_finished(tmp_path, monkeypatch):
    path, sizes = tmp_path / "log", []
    entry = lambda k: (
        np.full(3, k), 0.5 * k, np.arange(3.0) - k, (1e-3, 1e-4), "CONVERGED", 0.1 * k,
        np.full(1000, k, np.uint8),
    )
    log = EvaluationLog(path, "f")
    for k in range(5):
        log.append(*entry(k))
        sizes.append(path.stat().st_size)
    assert set(np.diff(sizes)) == {8 * (7 + 6)}  # no warm start, nothing twice
    again = EvaluationLog(path, "f")
    assert len(again) == 5 and (again.warm_start == 4).all()
    omega, value, grad, residuals, status, seconds, part = again.row(3)
    assert (omega == 3).all() and value == 1.5 and (grad == np.arange(3.0) - 3).all()
    assert residuals == (1e-3, 1e-4) and status == "CONVERGED" and seconds == pytest.approx(0.3) and part == 1
    with path.open("ab") as file:
        file.write(b"half a row")
    assert len(EvaluationLog(path, "f")) == 5 and path.stat().st_size == sizes[-1]
    # A kill between a row and its warm start: the row is made anew.
    write = kbo.serial.write_atomically

    def killed(path, *more):
        if str(path).endswith(".state"):
            raise Killed
        write(path, *more)

    monkeypatch.setattr(kbo.serial, "write_atomically", killed)
    with pytest.raises(Killed):
        EvaluationLog(path, "f").append(*entry(5))
    monkeypatch.undo()
    resumed = EvaluationLog(path, "f")
    assert len(resumed) == 5 and (resumed.warm_start == 4).all()
    resumed.append(*entry(5))
    assert len(EvaluationLog(path, "f")) == 6
    # Alone the log is of no use, and says so rather than begin anew.
    state = (tmp_path / "log.state").read_bytes()
    (tmp_path / "log.state").unlink()
    with pytest.raises(ValueError, match="needs its warm start"):
        EvaluationLog(path, "f")
    path.unlink()
    (tmp_path / "log.state").write_bytes(state)
    EvaluationLog(path, "f").append(*entry(0)[:-1], None)
    assert not (tmp_path / "log.state").exists()
    # Rows without a warm start need none.
    log = EvaluationLog(tmp_path / "other", "f")
    log.append(*entry(0)[:-1], None)
    assert len(EvaluationLog(tmp_path / "other", "f")) == 1
    assert not (tmp_path / "other.state").exists()


@pytest.mark.slow
def test_processes_killed_at_random_moments_resume_exactly(tmp_path):
    def start(run, out):
        command = [sys.executable, "-c", SCRIPT, "lbfgs", str(tmp_path / run), str(out)]
        return subprocess.Popen(command, cwd=Path(__file__).parents[1])

    assert start("whole", tmp_path / "whole.npy").wait() == 0
    rng = np.random.default_rng(1)
    for k in range(20):
        process = start(f"killed{k}", tmp_path / f"{k}.npy")
        log = tmp_path / f"killed{k}"
        while not log.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1.0))
        process.kill()
        process.wait()
        assert start(f"killed{k}", tmp_path / f"{k}.npy").wait() == 0
        np.testing.assert_array_equal(np.load(tmp_path / f"{k}.npy"), np.load(tmp_path / "whole.npy"))


def test_a_checkpoint_of_another_run_is_refused(tmp_path, x64):
    problem, omega = regularised()
    path = tmp_path / "log"
    optimizer = kbo.optimizers.LBFGS(max_steps=2)
    kbo.minimize(problem, omega, optimizer=optimizer, checkpoint=path)
    for change in (
        {"omega0": {**omega, "log_ridge": -2.0}}, {"optimizer": kbo.optimizers.LBFGS(max_steps=3)},
        {"problem": problem.replace(inner_loss=kbo.losses.Huber(1.0))},
    ):
        arguments = {"problem": problem, "omega0": omega, "optimizer": optimizer, **change}
        with pytest.raises(ValueError, match="another problem"):
            kbo.minimize(**arguments, checkpoint=path)
    path.write_bytes(b"not a log")
    with pytest.raises(ValueError, match="not a checkpoint"):
        kbo.minimize(problem, omega, optimizer=optimizer, checkpoint=path)


def test_files_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda f: f.write("old"), "w")

    def fail(file):
        file.write("new")
        raise Killed

    with pytest.raises(Killed):
        write_atomically(path, fail, "w")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_fingerprints_tell_runs_apart_and_processes_do_not():
    from kbo.fingerprint import fingerprint

    make = lambda c: lambda w: c * w
    polynomial = lambda degree: kbo.kernels.Polynomial(degree=degree)
    different = [
        lambda w: 1e-2 * w, lambda w: 1e-3 * w, lambda w: w["a"], lambda w: w["b"], make(1.0),
        make(2.0), make(np.ones(2)), kbo.losses.Squared(), kbo.losses.Poisson(), polynomial(2),
        polynomial(3), kbo.kernels.Gaussian(1.0), kbo.kernels.Matern52(1.0),
        kbo.kernels.Gaussian(np.ones(1)), kbo.hypergradients.Implicit(), np.ones(2), np.ones((2, 1)),
        lambda w, c=1: w, lambda w, c=2: w,
    ]
    assert len({fingerprint(value) for value in different}) == len(different)
    code = (
        "from kbo.fingerprint import fingerprint; import kbo; c = 3.0\n"
        "f = lambda x, z: c * x @ z\n"
        "print(fingerprint((kbo.RKHS(f), f, {'a': 1.0}, kbo.losses.Huber())))"
    )
    run = lambda: subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert run() == run()


@pytest.mark.parametrize(
    "change",
    [
        {"inner_loss": kbo.losses.SmoothQuantile()}, {"outer_loss": lambda w, v, t: 2 * (v - t) ** 2},
        {"space": lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(0.5 * w["log_l"])))},
    ],
)
def test_a_checkpoint_knows_functions_and_classes(change, tmp_path, x64):
    problem, omega = helpers.folds_problem()
    optimizer = kbo.optimizers.LBFGS(max_steps=1)
    kbo.minimize(problem, omega, optimizer=optimizer, checkpoint=tmp_path / "log")
    with pytest.raises(ValueError, match="another problem"):
        kbo.minimize(
            problem.replace(**change), omega, optimizer=optimizer, checkpoint=tmp_path / "log"
        )


def test_resuming_just_before_a_failure_goes_on(tmp_path, x64, monkeypatch):
    """The first new evaluation after a resume is unusable: the run turns back as it would have."""
    problem, omega = cliff_problem(), 0.0
    whole = kbo.minimize(problem, omega, checkpoint=tmp_path / "log")
    append = EvaluationLog.append

    def killed(self, *row):
        if row[4] != "CONVERGED":
            raise Killed
        append(self, *row)

    monkeypatch.setattr(EvaluationLog, "append", killed)
    with pytest.raises(Killed):
        kbo.minimize(problem, omega, checkpoint=tmp_path / "cut")
    monkeypatch.undo()
    assert (tmp_path / "cut").stat().st_size < (tmp_path / "log").stat().st_size
    resumed = kbo.minimize(problem, omega, checkpoint=tmp_path / "cut")
    np.testing.assert_allclose(resumed.value, whole.value, rtol=1e-6)
    assert whole.n_rejected > 0


def test_a_step_outside_the_problem_is_turned_back_from(x64):
    """A ridge that becomes negative is no error in the middle of a search, only at its start."""
    problem, omega = helpers.folds_problem()
    linear = problem.replace(ridge=lambda w: w["log_ridge"], penalty=lambda w: 3 * w["log_ridge"])
    result = kbo.minimize(
        linear, {**omega, "log_ridge": 0.05}, throw=False,
        optimizer=kbo.optimizers.GradientDescent(max_steps=5),
    )
    assert result.n_rejected > 0
    assert result.omega["log_ridge"] > 0
    assert np.isfinite(result.value)
    with pytest.raises(ValueError, match="ridge"):
        kbo.minimize(linear, {**omega, "log_ridge": -1.0})


def test_bounds_for_any_pytree(x64):
    problem, omega = helpers.folds_problem()
    with pytest.raises(ValueError, match="bounds"):
        kbo.minimize(problem, omega, bounds=(None, 1.0))
    omega = {"a": [0.5, np.zeros(2)], "b": {"c": 0.0, "d": 1.0}}
    sides = {
        "number": (-1.0, 2.0), "flat": (-np.ones(5), 2 * np.ones(5)),
        "upper part": ({"a": -1.0, "b": -1.0}, {"a": [2.0, np.full(2, 2.0)], "b": 2.0}),
    }
    for name, bounds in sides.items():
        lower, upper = flat_bounds(bounds, omega)
        np.testing.assert_array_equal(lower, -np.ones(5), err_msg=name)
        np.testing.assert_array_equal(upper, 2 * np.ones(5), err_msg=name)
    for wrong in ((np.zeros(4), 1.0), ({"a": 0.0}, 1.0), ({"a": np.zeros(3), "b": 0.0}, 1.0)):
        with pytest.raises(ValueError, match="bounds"):
            flat_bounds(wrong, omega)


def test_files_have_the_usual_permissions(tmp_path):
    import os

    write_atomically(tmp_path / "ours", lambda f: f.write(b""))
    (tmp_path / "usual").write_bytes(b"")
    assert os.stat(tmp_path / "ours").st_mode == os.stat(tmp_path / "usual").st_mode


def test_a_search_that_stalls_begins_anew(x64):
    """SciPy's L-BFGS-B, which this once was, ended in a corner of the box here, at 0.0042."""
    rng = np.random.default_rng(18)
    f = lambda z: np.sin(2 * z[:, 0] + z.sum(1) ** 2)
    x = rng.uniform(-1, 1, (40, 2))
    t = f(x) + 1e-3 * rng.normal(size=40)
    x_out = rng.uniform(-1, 1, (40, 2))
    problem = kbo.BilevelProblem(
        inner_loss=kbo.losses.Squared(), outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, f(x_out)),
        space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))),
        ridge=lambda w: jnp.exp(w["r"]),
    )
    result = kbo.minimize(
        problem, {"l": 1.0, "r": -3.0}, bounds=({"l": -5.0, "r": -16.0}, {"l": 5.0, "r": 3.0}),
        optimizer=kbo.optimizers.LBFGS(100, tol=0.0, ftol=1e-4, log=True),
    )
    squares = lambda a, b: ((a[:, None] - b) ** 2).sum(-1)
    best = np.inf
    for log_l in np.linspace(-2, 2, 41):  # the whole range of lengthscales that fit at all
        K, cross = (np.exp(-squares(z, x) / (2 * np.exp(2 * log_l))) for z in (x, x_out))
        for r in np.linspace(-16, 3, 39):
            error = cross @ np.linalg.solve(K + 40 * np.exp(r) * np.eye(40), t) - f(x_out)
            best = min(best, 0.5 * np.mean(error**2))
    assert result.status is kbo.Status.CONVERGED and result.value <= 1.01 * best
