"""Experiments: records that do not depend on workers, order or kills."""

import subprocess
import sys
import time

import joblib
import numpy as np
import pytest

import kbo
import theory
from theory import estimators, problems

SMALL = {"n_grid": [20, 40], "n_repeats": 7, "quantities": ["value", "grad", "descent_curve"]}


def same(a, b):
    assert a.quantities == b.quantities
    for name in a.quantities:
        for key, rows in a.errors[name].items():
            np.testing.assert_array_equal(rows, b.errors[name][key])


def test_records_do_not_depend_on_workers_or_order(tmp_path):
    problem = problems.torus_regression(terms=10)
    one = theory.run_rate_experiment(problem, **SMALL, random_state=3)
    assert one.errors["grad"][20, 20].shape == (7, 3)
    assert one.errors["descent_curve"][20, 20].shape == (7, 11)
    same(one, theory.run_rate_experiment(problem, **SMALL, random_state=3, n_jobs=2))
    more = theory.run_rate_experiment(problem, **{**SMALL, "n_grid": [40, 30, 20]}, random_state=3)
    np.testing.assert_array_equal(more.errors["grad"][40, 40], one.errors["grad"][40, 40])
    other = theory.run_rate_experiment(problem, **SMALL, random_state=4)
    assert (other.errors["grad"][20, 20] != one.errors["grad"][20, 20]).all()
    one.save(tmp_path / "records.json")
    same(one, theory.Records.load(tmp_path / "records.json"))
    assert len(one.frame()) == 2 * 7 * (1 + 3 + 11)


def test_finished_cells_are_not_computed_again(tmp_path, monkeypatch):
    problem = problems.torus_regression(terms=10)
    full = theory.run_rate_experiment(problem, **SMALL, store=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    for file in files[::2]:  # as if killed half-way
        file.unlink()
    calls = []
    plain = type(problem).sample
    monkeypatch.setattr(
        type(problem), "sample", lambda self, *args: calls.append(args) or plain(self, *args)
    )
    same(full, theory.run_rate_experiment(problem, **SMALL, store=tmp_path))
    assert 0 < len(calls) < 14
    theory.run_rate_experiment(problem, **SMALL, store=tmp_path, random_state=1)
    assert len(list(tmp_path.iterdir())) == 8  # other settings, other files
    # Other kernels and other estimators of the same name are other cells too.
    other = problems.torus_regression(terms=3)
    fresh = theory.run_rate_experiment(other, **SMALL)
    same(fresh, theory.run_rate_experiment(other, **SMALL, store=tmp_path))
    for factor in (1.0, 100.0):
        wrong = estimators.OtherRidge(lambda n, factor=factor: factor)
        fresh = theory.run_rate_experiment(problem, **SMALL, estimator=wrong)
        kept = theory.run_rate_experiment(problem, **SMALL, estimator=wrong, store=tmp_path)
        same(fresh, kept)


@pytest.mark.slow
def test_a_cluster_gives_the_same():
    distributed = pytest.importorskip("distributed")
    problem = problems.torus_regression(terms=10)
    alone = theory.run_rate_experiment(problem, **SMALL)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        distributed.Client(local), joblib.parallel_config(backend="dask"),
    ):
        same(alone, theory.run_rate_experiment(problem, **SMALL))


PROGRAM = """
import sys, theory
problem = theory.problems.torus_regression(terms=10)
theory.run_rate_experiment(problem, [20, 40, 80], 60, ["value", "grad"], store=sys.argv[1])
"""


@pytest.mark.slow
def test_eight_kills_change_nothing(tmp_path):
    """Killed at random moments, and resumed: the same records as in one go."""
    rng = np.random.default_rng(0)
    command = [sys.executable, "-c", PROGRAM]
    started = time.perf_counter()
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    whole = time.perf_counter() - started
    killed = 0
    for _ in range(8):
        process = subprocess.Popen([*command, str(tmp_path / "killed")])
        try:
            process.wait(rng.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert killed >= 2
    settings = {"n_grid": [20, 40, 80], "n_repeats": 60, "quantities": ["value", "grad"]}
    problem = problems.torus_regression(terms=10)
    found = [
        theory.run_rate_experiment(problem, **settings, store=tmp_path / name)
        for name in ("whole", "killed")
    ]
    same(*found)
    same(found[0], theory.run_rate_experiment(problem, **settings))


@pytest.mark.slow
def test_errors_of_functions_fall():
    problem = problems.torus_regression(terms=10)
    names = ["h_rkhs", "h_l2", "a_rkhs", "a_l2"]
    records = theory.run_rate_experiment(problem, [50, 200, 800], 10, names)
    spanned = estimators.Plain(kbo.solvers.Nystrom(40))
    near = theory.run_rate_experiment(problem, [200], 10, names, estimator=spanned)
    for name in names:  # 40 centres span the 21 functions of this space
        np.testing.assert_allclose(
            near.errors[name][200, 200], records.errors[name][200, 200], rtol=1e-4
        )
    for name in names:
        fit = theory.fit_rate(records, name)
        assert -0.75 < fit.slope < -0.3, (name, fit.slope)
        assert fit.fluctuation is None


def test_bad_input(tmp_path):
    problem = problems.torus_regression(terms=10)
    for settings, message in (
        ({"quantities": ["norm"]}, "norm"), ({"n_repeats": 1}, "repeats"), ({"n_grid": []}, "sizes"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.run_rate_experiment(problem, **{**SMALL, **settings})
    records = theory.run_rate_experiment(problem, **SMALL)
    with pytest.raises(ValueError, match="sup_value"):
        theory.fit_rate(records, "sup_value")
    with pytest.raises(ValueError, match="three"):
        theory.fit_rate(records, "value")
    few = theory.run_rate_experiment(problem, [20, 30, 40, 40], 2, ["value"])
    assert few.errors["value"][40, 40].shape == (2, 1)  # one size, however often it is named
    with pytest.raises(ValueError, match="repeats"):
        theory.fit_rate(few, "value")
    nothing = theory.Records({}, {"grad": {(n, n): np.zeros((9, 2)) for n in (10, 20, 40)}})
    with pytest.raises(ValueError, match="zero"):
        theory.fit_rate(nothing)
    apart = {(n, m): np.ones((9, 2)) for n, m in ((20, 10), (40, 10), (80, 40), (160, 40))}
    with pytest.raises(ValueError, match="apart"):
        theory.plot_rates(theory.Records({}, {"grad": apart}))
    with pytest.raises(ValueError, match="degrees"):
        problems.kbo_paper_iv(1.5)


def test_a_point_of_its_own_in_each_repeat():
    problem = problems.torus_regression(terms=10)
    points = np.array([problem.start(seed) for seed in range(6)])
    quantities = ["value", "grad", "sup_grad"]
    records = theory.run_rate_experiment(problem, [20], 6, quantities, omega=points)
    for r in (0, 5):
        alone = theory.run_rate_experiment(problem, [20], 6, quantities, omega=points[r])
        for name in quantities:
            np.testing.assert_array_equal(
                records.errors[name][20, 20][r], alone.errors[name][20, 20][r]
            )
    with pytest.raises(ValueError, match="omega"):
        theory.run_rate_experiment(problem, [20], 6, quantities, omega=points[:4])


def test_truths_are_as_large_as_the_records_say():
    problem = problems.torus_regression(terms=5)
    omega = np.array([0.3, -0.5, 0.8])
    names = ["value", "grad", "sup_value", "sup_grad", "h_l2", "h_rkhs", "a_l2", "a_rkhs"]
    records = theory.run_rate_experiment(problem, [20], 2, names, omega=omega)
    value, grad = problem.value_and_grad(omega)
    norms = np.sqrt(problem.square_norms(omega))
    for name, size in zip(
        ("value", "grad", "h_rkhs", "h_l2", "a_rkhs", "a_l2"),
        (abs(value), np.linalg.norm(grad), *norms), strict=True,
    ):
        assert records.truth_size(name) == pytest.approx(size)
    assert records.truth_size("sup_grad") == pytest.approx(
        problem.quadratic_form.sup_grad(problem.box)
    )
    assert 0 < records.truth_size("sup_value") <= problem.quadratic_form.sup_value(problem.box)


@pytest.mark.parametrize(("settings", "message"), [
    ({"n_grid": [20.5]}, "whole numbers"), ({"n_grid": [(20, 30, 40)]}, "whole numbers"),
    ({"n_grid": [1]}, "whole numbers"), ({"n_repeats": 2.5}, "n_repeats=2.5"),
    ({"n_repeats": 1}, "n_repeats=1"), ({"quantities": []}, "quantities"),
    ({"omega": [0.1, 0.2]}, "3 finite numbers"), ({"omega": [0.1, np.nan, 0.0]}, "3 finite numbers"),
])
def test_experiments_refuse_nonsense(settings, message):
    problem = problems.torus_regression(terms=5)
    plan = {"n_grid": [20], "n_repeats": 2, "quantities": ["grad"], **settings}
    with pytest.raises(ValueError, match=message):
        theory.run_rate_experiment(problem, **plan)


def test_an_estimator_that_fails_is_named():
    class Broken(theory.estimators.Plain):
        def __call__(self, problem, quadratic):
            right = super().__call__(problem, quadratic)
            return right._replace(value_and_grad=lambda omega: (0.0, np.full(3, np.nan)))

    problem = problems.torus_regression(terms=5)
    with pytest.raises(ValueError, match="grad of repeat 0 at n=20, m=20 is not finite"):
        theory.run_rate_experiment(problem, [20], 2, ["grad"], estimator=Broken())
