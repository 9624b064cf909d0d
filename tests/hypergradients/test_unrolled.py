"""Unrolled hypergradients (ITD) against Implicit and their own theory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.hypergradients import Mean, Parametric, Unrolled
from kbo.networks import MLP
from kbo.optimizers import Optax
from kbo.search.session import prepare
from kbo.solvers import Gradient, Nystrom
from tests import helpers
from tests.hypergradients.common import (
    ADAM,
    FEATURES,
    NETWORK,
    check_resumes,
    gradient,
    hessian,
    one_target,
    relative,
    slope,
)
from tests.neural import OMEGA, iv_like

pytestmark = pytest.mark.usefixtures("x64")
SLOW = pytest.mark.slow


# Unrolled: agreement and rates


def test_unrolled_descent_converges_to_the_implicit_gradient_at_its_rate():
    eigenvalues = np.linalg.eigvalsh(hessian())
    step = 1 / eigenvalues[-1]
    problem, omega = one_target(FEATURES)
    exact = gradient(problem, omega)
    optimizer = optax.sgd(step)
    counts = [20, 40, 60, 80]
    errors = [relative(gradient(problem, omega, Unrolled(k, optimizer)), exact) for k in counts]
    assert slope(counts, errors) == pytest.approx(np.log(1 - step * eigenvalues[0]), rel=0.1)


@pytest.mark.parametrize(
    ("space", "loss"),
    [
        ("gaussian", "squared"),
        pytest.param("gaussian", "logistic", marks=SLOW),
        pytest.param("features", "huber", marks=SLOW),
    ],
)
def test_the_derivative_is_that_of_the_value_in_every_mode(space, loss):
    problem, omega = helpers.everything_problem(space, loss)
    optimizer = optax.sgd(0.3, momentum=0.5)
    method = Unrolled(12, optimizer)
    reverse = kbo.value_and_hypergradient(problem, omega, method=method)
    checkpointed = gradient(problem, omega, Unrolled(12, optimizer, checkpoint=True))
    forward = gradient(problem, omega, Unrolled(12, optimizer, mode="forward"))
    assert relative(forward, reverse.grad) <= 1e-10
    assert relative(checkpointed, reverse.grad) <= 1e-12
    assert_derivative_of_value(problem, omega, method, reverse)


def assert_derivative_of_value(problem, omega, method, found, solver=None, step=1e-5):
    """Central differences along random directions."""
    with prepare(problem, omega, solver or kbo.solvers.Exact(), method) as session:
        flat, unravel = jax.flatten_util.ravel_pytree(session.omega)
        value = lambda moved: session.value(unravel(moved))
        assert value(flat) == pytest.approx(found.value, rel=1e-12)
        grad = jax.flatten_util.ravel_pytree(found.grad)[0]
        for along in np.random.default_rng(0).normal(size=(2, flat.size)):
            difference = (value(flat + step * along) - value(flat - step * along)) / (2 * step)
            assert float(grad @ along) == pytest.approx(difference, rel=1e-6)


def test_networks_unroll_from_the_weights_that_gradient_starts_from():
    problem, sgd = iv_like(NETWORK), optax.sgd(0.05)
    solver = Gradient(steps=15, optimizer=sgd, seed=3)
    trained = solver.solve(problem.at(jax.tree.map(jnp.asarray, OMEGA)))
    method = Unrolled(15, sgd)
    unrolled = kbo.value_and_hypergradient(problem, OMEGA, solver=solver, method=method)
    x = problem.outer_data.x
    np.testing.assert_allclose(unrolled.inner(x), trained.h_outer[0, :, 0], rtol=1e-9)
    assert unrolled.residuals.inner > 0
    other = kbo.value_and_hypergradient(problem, OMEGA, method=method, key=jax.random.key(8))
    assert np.abs(other.inner(x) - unrolled.inner(x)).max() > 0.01


@SLOW
def test_the_derivative_through_a_network_is_that_of_the_value():
    problem, method, solver = iv_like(NETWORK), Unrolled(15, optax.sgd(0.05)), Gradient(seed=3)
    found = kbo.value_and_hypergradient(problem, OMEGA, method=method, solver=solver)
    assert_derivative_of_value(problem, OMEGA, method, found, solver)


@SLOW
def test_adam_with_a_rounded_root_can_be_unrolled():
    problem, omega = one_target(FEATURES)
    method = Unrolled(15, optax.adam(1e-2, eps_root=1e-8))
    found = kbo.value_and_hypergradient(problem, omega, method=method)
    assert_derivative_of_value(problem, omega, method, found)


def test_truncation_leaves_the_value_and_bounds_the_derivative():
    problem, omega = one_target(FEATURES)[0], {"a": 0.2}
    optimizer = optax.sgd(0.1)
    whole = kbo.value_and_hypergradient(problem, omega, method=Unrolled(60, optimizer))
    errors = []
    for steps in (10, 40):
        part = kbo.value_and_hypergradient(
            problem, omega, method=Unrolled(steps, optimizer, warm_steps=60 - steps)
        )
        assert part.value == pytest.approx(whole.value, rel=1e-12)
        errors.append(relative(part.grad, whole.grad))
    assert 1e-8 < errors[1] < errors[0] < 1


def test_warm_steps_go_on_where_they_were():
    problem, omega = one_target(FEATURES)
    optimizer = optax.sgd(0.05, momentum=0.9)
    first = kbo.value_and_hypergradient(problem, omega, method=Unrolled(10, optimizer))
    second = kbo.value_and_hypergradient(
        problem, omega, method=Unrolled(10, optimizer), state=first.state
    )
    once = kbo.value_and_hypergradient(problem, omega, method=Unrolled(20, optimizer))
    x = problem.outer_data.x
    np.testing.assert_allclose(second.inner(x), once.inner(x), rtol=1e-10)
    cold = Unrolled(10, optimizer, warm=False)
    again = kbo.value_and_hypergradient(problem, omega, method=cold, state=first.state)
    assert again.value == pytest.approx(first.value, rel=1e-13)
    stranger = kbo.value_and_hypergradient(problem, omega).state  # of another method
    found = kbo.value_and_hypergradient(
        problem, omega, method=Unrolled(10, optimizer), state=stranger
    )
    assert found.value == pytest.approx(first.value, rel=1e-13)


@SLOW
def test_unrolling_over_the_span_of_centres():
    problem, omega = helpers.folds_problem()
    solver, method = Nystrom(8).fixed(problem.at(omega)), Unrolled(8, optax.sgd(0.3), warm=False)
    found = kbo.value_and_hypergradient(problem, omega, method=method, solver=solver)
    assert found.inner.coefficients.shape == (3, 8, 1)
    assert_derivative_of_value(problem, omega, method, found, solver)


@SLOW
def test_checkpoints_save_memory():
    from kbo.hypergradients.unrolled import _through, fresh_start

    problem = iv_like(kbo.NeuralSpace(MLP((64, 64))), n=400)
    omega = jax.tree.map(jnp.asarray, OMEGA)
    sizes = []
    for checkpoint in (False, True):
        method = Unrolled(40, optax.sgd(0.1), checkpoint=checkpoint)
        state = fresh_start(problem.at(omega), method.optimizer, jax.random.key(0))
        through = eqx.filter_jit(_through.__wrapped__)
        compiled = through.lower(problem.at(omega), state, method).compile().compiled
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    assert sizes[1] < 0.5 * sizes[0]


# Searches


def test_a_mean_of_unrolled_problems_resumes(tmp_path):
    problems = tuple(iv_like(FEATURES, seed=seed) for seed in (0, 1))
    method = Mean(problems, Unrolled(5, optax.sgd(0.1)))
    check_resumes(problems[0], method, Optax(ADAM, max_steps=4), tmp_path)
    # In a mean as alone, values compare or do not.
    assert not method.comparable(kbo.solvers.Exact())
    assert Mean(problems).comparable(kbo.solvers.Exact())


def test_values_compare_where_each_omega_starts_anew():
    problem, omega = one_target(FEATURES)
    cold = Unrolled(30, optax.sgd(0.1), warm=False)
    found = kbo.minimize(problem, omega, method=cold)  # L-BFGS, by default
    assert found.status is kbo.Status.TRUNCATED
    assert found.grad_norm <= 1e-6
    h = found.function(problem.outer_data.x)
    assert 0.5 * np.mean((h - problem.outer_data.target) ** 2) == pytest.approx(found.value, rel=1e-12)
    exact, networks = kbo.solvers.Exact(), Gradient()
    assert cold.comparable(networks)
    assert not Unrolled(30).comparable(exact)
    assert Parametric().comparable(exact)
    assert not Parametric().comparable(networks)
    warm = kbo.minimize(problem, omega, method=Unrolled(3), max_time=1e-9)  # Adam, by default
    assert warm.status is kbo.Status.STOPPED


# Errors


def test_steps_that_blow_up_are_reported():
    problem, omega = one_target(FEATURES)
    for rate in (5.0, 1e200):
        method = Unrolled(30, optax.sgd(rate), warm=False)
        with pytest.raises(kbo.BilevelError, match="learning rate") as caught:
            kbo.value_and_hypergradient(problem, omega, method=method)
        assert caught.value.status is kbo.Status.DIVERGED
    with prepare(problem, omega, kbo.solvers.Exact(), method) as session:
        assert session.value() == np.inf
    # Adam's root has no derivative at zero: the value is there, the gradient is not.
    left_out = kbo.Sample(problem.inner_data.x, 0 * problem.inner_data.target)
    found = kbo.value_and_hypergradient(
        problem.replace(inner_data=left_out), omega, method=Unrolled(3, optax.adam(0.1)), throw=False
    )
    assert found.status is kbo.Status.NON_FINITE
