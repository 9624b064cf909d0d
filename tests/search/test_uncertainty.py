"""Standard errors against refits, formulas and repeated samples."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_diabetes

import kbo
from kbo import KernelBilevelRegressor, kernels
from tests.helpers import data, flat, folds_problem

TIGHT = kbo.optimizers.LBFGS(max_steps=200, tol=1e-9, ftol=0.0)


def influence(problem, omega, f, eps=1e-3):
    """dω̂/db_f by minimising anew with fold f's share of L raised and lowered."""
    ends = []
    for sign in (1, -1):
        weights = np.array(problem.outer_data.weights)
        weights[f] *= 1 + sign * eps
        outer = kbo.Sample(problem.outer_data.x, problem.outer_data.target, weights)
        result = kbo.minimize(problem.replace(outer_data=outer), omega, optimizer=TIGHT)
        ends.append(flat(result.omega))
    return (ends[0] - ends[1]) / (2 * eps)


def test_errors_are_the_spread_of_minimisers(x64):
    problem, start = folds_problem(n=60, folds=6)
    start = {k: start[k] for k in ("log_l", "log_ridge")}
    omega = kbo.minimize(problem, start, optimizer=TIGHT).omega
    found = kbo.standard_errors(problem, omega)
    moves = np.array([influence(problem, omega, f) for f in range(6)])
    expected = np.sqrt(6 / 5 * (moves**2).sum(0))
    np.testing.assert_allclose(flat(found.omega), expected, rtol=1e-3)
    np.testing.assert_allclose(found.value, found.parts.std(ddof=1) / np.sqrt(6), rtol=1e-12)
    whole = kbo.value_and_hypergradient(problem, omega)
    np.testing.assert_allclose(found.parts.mean(), whole.value, rtol=1e-9)


def hold_out(seed, n=60, m=400):
    x, t, _, _ = data(n, 1, seed=0)
    rng = np.random.default_rng(seed)
    x_out = rng.normal(size=(m, 3))
    y = np.sin(x_out.sum(1)) + 0.3 * x_out[:, 0] + 0.3 * rng.normal(size=m)
    return kbo.BilevelProblem(
        inner_loss=kbo.losses.Squared(), outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y),
        space=lambda w: kbo.RKHS(kernels.Gaussian(jnp.exp(w["l"]))),
        ridge=lambda w: jnp.exp(w["r"]),
    )


@pytest.mark.slow
def test_hold_out_errors_are_those_over_repeated_samples(x64):
    start = {"l": 0.3, "r": -4.0}
    errors, ends = [], []
    for seed in range(60):
        problem = hold_out(seed)
        result = kbo.minimize(problem, start)
        ends.append([result.value, *flat(result.omega)])
        if seed < 6:
            found = kbo.standard_errors(problem, result.omega, batches=40)
            errors.append([found.value, *flat(found.omega)])
    ratio = np.mean(errors, 0) / np.std(ends, 0, ddof=1)
    assert (ratio > 0.6).all() and (ratio < 1.6).all(), ratio


def test_leaving_out_agrees_with_its_folds(x64):
    """Fold errors are the same whether folds are replicates or come from one factorisation."""
    problem, start = folds_problem(n=60, folds=6)
    omega = {"log_l": start["log_l"] + 0.3, "log_ridge": jnp.asarray(-2.0)}
    folds = np.repeat(np.arange(6), 10)
    # alpha = ridge·Σw is what LeaveOut holds: give the replicates the same.
    replicates = problem.replace(ridge=lambda w: 1.2 * jnp.exp(w["log_ridge"]))
    x, t = problem.inner_data.x, problem.inner_data.target
    whole = problem.replace(inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x, t))
    left = kbo.standard_errors(whole, omega, method=kbo.criteria.LeaveOut(folds))
    plain = kbo.standard_errors(replicates, omega)
    np.testing.assert_allclose(np.sort(left.parts), np.sort(plain.parts), rtol=1e-9)
    np.testing.assert_allclose(left.value, plain.value, rtol=1e-9)
    np.testing.assert_allclose(flat(left.omega), flat(plain.omega), rtol=1e-5)


def test_entries_that_nothing_determines_are_infinite(x64):
    problem, start = folds_problem(n=60, folds=6)
    fixed = {k: start[k] for k in ("log_l", "log_ridge")}
    omega = {**fixed, "idle": 0.0}
    found = kbo.standard_errors(problem, omega, bounds=(-3.0, 9.0))
    assert np.isinf(found.omega["idle"]) and np.isinf(found.omega["log_ridge"])
    assert np.isfinite(found.omega["log_l"]).all()


def test_bad_input(x64):
    problem, start = folds_problem(n=30, folds=3)
    with pytest.raises(ValueError, match="two"):
        kbo.standard_errors(hold_out(0), {"l": 0.3, "r": -4.0}, batches=1)
    moving = problem.replace(outer_data=lambda w: problem.outer_data)
    with pytest.raises(ValueError, match="outer_data"):
        kbo.standard_errors(moving, start)
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="gcv"):
        KernelBilevelRegressor(criterion="gcv", standard_errors=True).fit(X, y)
