"""The outer loop: every optimiser, bounds, callbacks, checkpoints, statuses."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.search.bounds import flat_bounds
from tests import helpers
from tests.search.common import cliff_problem, regularised

OPTIMIZERS = {
    "lbfgs": kbo.optimizers.LBFGS(max_steps=200, tol=1e-7),
    "lbfgs_log": kbo.optimizers.LBFGS(max_steps=200, tol=1e-7, log=True, memory=5),
    "descent": kbo.optimizers.GradientDescent(step=32.0, max_steps=500, tol=1e-6),
    "optax": kbo.optimizers.Optax(optax.adam(0.05), max_steps=300, tol=1e-6),
}


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
    assert result.value == (values[-1] if result.status.ok else min(values))
    assert result.value <= min(values) * (1 + 1e-9)
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
    for bounds in ((1.0, 2.0), (2.0, 1.0), 3.0, ({"log_length": 0.0}, 1.0)):
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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_start_without_a_value_throws_or_is_a_status(name, x64):
    with pytest.raises(kbo.BilevelError, match="not finite"):
        kbo.minimize(cliff_problem(), 1.0, optimizer=OPTIMIZERS[name])
    result = kbo.minimize(cliff_problem(), 1.0, optimizer=OPTIMIZERS[name], throw=False)
    assert result.status is kbo.Status.NON_FINITE
    with pytest.raises(kbo.BilevelError):
        result.function(np.zeros((1, 3)))


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
    for wrong in ((np.zeros(4), 1.0), ({"c": 0.0}, 1.0), ({"a": np.zeros(3), "b": 0.0}, 1.0)):
        with pytest.raises(ValueError, match="bounds"):
            flat_bounds(wrong, omega)


def test_keys_that_bounds_do_not_name_are_free(x64):
    omega = {"a": jnp.zeros(2), "b": {"c": jnp.zeros(()), "d": jnp.zeros(1)}}
    lower, upper = flat_bounds(({"b": {"d": -1.0}}, {"a": 3.0}), omega)
    np.testing.assert_array_equal(lower, [-np.inf, -np.inf, -np.inf, -1.0])
    np.testing.assert_array_equal(upper, [3.0, 3.0, np.inf, np.inf])
    problem, start = regularised()
    with pytest.raises(ValueError, match=r"outside bounds .* in omega0\['log_l'\].*: .* not between 9"):
        kbo.minimize(problem, start, bounds=({"log_l": 9.0}, 10.0))
    with pytest.raises(TypeError, match=r"this transformation in kbo.optimizers.Optax"):
        kbo.minimize(problem, start, optimizer=optax.adam(0.1))
    with pytest.raises(ValueError, match=r"bounds.*no key 'e', only"):
        flat_bounds(({"b": {"e": 0.0}}, 1.0), omega)


def test_a_line_search_that_fails_says_why(x64):
    problem, omega = regularised()
    kinked = problem.replace(penalty=kbo.regularizers.L1(3.0))
    start = {name: jnp.zeros_like(leaf) + 0.3 for name, leaf in omega.items()}
    found = kbo.minimize(kinked, start, optimizer=kbo.optimizers.LBFGS())
    assert found.status is kbo.Status.LINE_SEARCH_FAILED
    assert "penalty=L1 has kinks" in found.hint and "ProximalGradient()" in found.hint
    short = kbo.minimize(kinked, start, optimizer=kbo.optimizers.GradientDescent(max_steps=1))
    assert short.status is kbo.Status.STEPS_EXHAUSTED and "penalty=L1 has kinks" in short.hint
    best = kbo.minimize(kinked, start)
    assert best.status is kbo.Status.CONVERGED and best.value < found.value
    assert np.abs(helpers.flat(best.omega)).min() == 0
