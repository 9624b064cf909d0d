"""Checkpoints: runs that are killed resume to the same iterate."""

import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.result import Residuals, Status
from kbo.search.checkpoint import EvaluationLog
from kbo.search.evaluation import Evaluation
from tests import helpers
from tests.search.common import cliff_problem, regularised

SCRIPT = """
import sys, time
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np, optax, kbo
from tests import helpers
from tests.search.test_checkpoint import resumable
result = resumable(sys.argv[1], sys.argv[2], lambda record: time.sleep(0.02))
np.save(sys.argv[3], np.append(helpers.flat(result.omega), result.n_evaluations))
"""


def resumable(name, checkpoint, callback=None):
    problem, omega = regularised("logistic")
    solver, method = kbo.solvers.Falkon(10) if name == "lbfgs, falkon" else None, None
    if name == "lbfgs, loose":
        solver, method = kbo.solvers.QuasiNewton(loose=0.3), kbo.hypergradients.Parametric()
        problem, omega = helpers.logistic_regression()[0], 3.0
    optimizer = {
        "lbfgs": kbo.optimizers.LBFGS(max_steps=12),
        "lbfgs, parts": kbo.optimizers.LBFGS(max_steps=8, parts=(0.5, 0.8)),
        "lbfgs, loose": kbo.optimizers.LBFGS(max_steps=12),
        "lbfgs, falkon": kbo.optimizers.LBFGS(max_steps=12),
        "projected": kbo.optimizers.ProjectedGradient(kbo.regularizers.Ball(10.0), max_steps=12),
        "descent": kbo.optimizers.GradientDescent(max_steps=12),
        "optax": kbo.optimizers.Optax(optax.adam(0.05), max_steps=12),
        "optax, mean": kbo.optimizers.Optax(optax.adam(0.05), max_steps=12, average=0.5),
    }[name]
    return kbo.minimize(
        problem, omega, optimizer=optimizer, solver=solver, method=method, checkpoint=checkpoint,
        callback=callback, throw=False,
    )


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "name",
    [
        "lbfgs", "lbfgs, parts", "lbfgs, loose", "projected", "descent", "optax", "optax, mean",
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
    evaluation = lambda k: Evaluation(
        np.full(3, k), 0.5 * k, np.arange(3.0) - k, Residuals(1e-3, 1e-4), Status.CONVERGED, 0.1 * k
    )
    entry = lambda k: (evaluation(k), np.full(1000, k, np.uint8))
    log = EvaluationLog(path, "f")
    for k in range(5):
        log.append(*entry(k))
        sizes.append(path.stat().st_size)
    assert set(np.diff(sizes)) == {8 * (7 + 6)}  # no warm start, nothing twice
    again = EvaluationLog(path, "f")
    assert len(again) == 5 and (again.warm_start == 4).all()
    found = again.row(3)
    assert (found.point == 3).all() and (found.grad == np.arange(3.0) - 3).all()
    assert found[1:2] + found[3:] == evaluation(3)[1:2] + evaluation(3)[3:]
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
    EvaluationLog(path, "f").append(evaluation(0), None)
    assert not (tmp_path / "log.state").exists()
    # Rows without a warm start need none.
    log = EvaluationLog(tmp_path / "other", "f")
    log.append(evaluation(0), None)
    assert len(EvaluationLog(tmp_path / "other", "f")) == 1
    assert not (tmp_path / "other.state").exists()


@pytest.mark.slow
def test_processes_killed_at_random_moments_resume_exactly(tmp_path):
    def start(run, out):
        command = [sys.executable, "-c", SCRIPT, "lbfgs", str(tmp_path / run), str(out)]
        return subprocess.Popen(command, cwd=Path(__file__).parents[2])

    assert start("whole", tmp_path / "whole.npy").wait() == 0
    rng = np.random.default_rng(1)
    for k in range(6):
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
        {"omega0": {**omega, "log_ridge": -2.0}}, {"optimizer": kbo.optimizers.LBFGS(max_steps=2, memory=3)},
        {"problem": problem.replace(inner_loss=kbo.losses.Huber(1.0))},
    ):
        arguments = {"problem": problem, "omega0": omega, "optimizer": optimizer, **change}
        with pytest.raises(ValueError, match="another problem"):
            kbo.minimize(**arguments, checkpoint=path)
    path.write_bytes(b"not a log")
    with pytest.raises(ValueError, match="not a checkpoint"):
        kbo.minimize(problem, omega, optimizer=optimizer, checkpoint=path)


@pytest.mark.parametrize("kind", [kbo.optimizers.LBFGS, kbo.optimizers.GradientDescent])
def test_a_run_without_steps_left_goes_on_with_more(kind, tmp_path, x64):
    problem, omega = regularised()
    run = lambda steps, path: kbo.minimize(
        problem, omega, optimizer=kind(max_steps=steps), checkpoint=tmp_path / path)
    assert run(2, "log").status is Status.STEPS_EXHAUSTED
    size = (tmp_path / "log").stat().st_size
    longer, whole = run(6, "log"), run(6, "whole")
    assert (tmp_path / "log").stat().st_size > size
    np.testing.assert_array_equal(helpers.flat(longer.omega), helpers.flat(whole.omega))
    assert longer.n_evaluations == whole.n_evaluations
    assert len(longer.history) == len(whole.history) == 7


def test_steps_that_depend_on_their_number_do_not_go_on(tmp_path, x64):
    problem, omega = regularised()
    run = lambda steps: kbo.minimize(
        problem, omega, checkpoint=tmp_path / "log",
        optimizer=kbo.optimizers.Optax(optax.sgd(0.1), max_steps=steps, average=0.5))
    run(4)
    with pytest.raises(ValueError, match="depend on its max_steps"):
        run(8)


def test_a_folder_that_does_not_exist_is_named(tmp_path, x64):
    problem, omega = regularised()
    with pytest.raises(ValueError, match=r"checkpoint=.*folder that does not exist: make .*absent"):
        kbo.minimize(problem, omega, checkpoint=tmp_path / "absent" / "log")


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
        if not row[0].status.ok:
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
