"""Training: batches, keys, tolerances, divergence and resuming."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.hypergradients import Stochastic
from kbo.networks import MLP
from kbo.optimizers import Optax
from kbo.solvers import Gradient
from tests import helpers
from tests.neural import AFFINE, FEW, OMEGA, functional_case, iv_like

pytestmark = pytest.mark.usefixtures("x64")


def test_training_goes_on_from_the_state():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((32,))))
    first = kbo.value_and_hypergradient(problem, omega, solver=FEW)
    second = kbo.value_and_hypergradient(problem, omega, solver=FEW, state=first.state)
    cold = kbo.value_and_hypergradient(problem, omega, solver=Gradient(steps=10))
    x = problem.inner_data.x
    np.testing.assert_allclose(second.inner(x), cold.inner(x), rtol=1e-9)
    assert int(second.state.inner.count) == 10


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_resumed_run_is_the_uninterrupted_one(stochastic, tmp_path):
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((8,))))
    solver = Gradient(steps=3, adjoint_steps=4, batch_size=16, accumulate=2)
    method = Stochastic(30, 20) if stochastic else None
    run = lambda **more: kbo.minimize(
        problem, omega, solver=solver, method=method, key=jax.random.key(5),
        optimizer=Optax(optax.adam(optax.cosine_decay_schedule(0.1, 8)), max_steps=6), **more,
    )
    whole = run()
    path = tmp_path / "run.npz"
    run(checkpoint=path, callback=lambda record: record.step == 2)
    resumed = run(checkpoint=path)
    np.testing.assert_array_equal(whole.omega, resumed.omega)
    assert whole.value == resumed.value
    x = problem.inner_data.x
    np.testing.assert_array_equal(whole.function(x), resumed.function(x))
    assert [r.value for r in whole.history] == [r.value for r in resumed.history]


def test_the_callback_sees_the_function_and_the_history_does_not():
    problem, omega, _ = functional_case()
    seen = []
    x = problem.inner_data.x
    found = kbo.minimize(
        problem.replace(space=kbo.NeuralSpace(MLP((8,)))), omega, solver=FEW,
        optimizer=Optax(optax.sgd(0.1), max_steps=2),
        callback=lambda record: seen.append(np.mean((record.function(x) - np.sin(2 * x[:, 0])) ** 2)),
    )
    np.testing.assert_allclose(2 * np.array([r.value for r in found.history]), seen, rtol=1e-9)
    assert all(record.function is None for record in found.history)


@pytest.mark.parametrize("which", ["inner", "adjoint"])
def test_objectives_of_batches_are_unbiased(which):
    from kbo.solvers._training.objectives import adjoint_objective, training_objective

    problem, omega = helpers.folds_problem("logistic")
    instance = problem.replace(space=kbo.NeuralSpace(MLP((4,)))).at(omega)
    inner, adjoint = instance.space.initial(jax.random.key(0), instance.inner.x[0], 1, 3)
    if which == "inner":
        objective, params = training_objective(instance), inner.params
    else:
        values = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 30, 1)))
        objective, params = adjoint_objective(instance, *values), adjoint.params
    rows = jnp.arange(30)[:, None]
    each = jax.vmap(lambda r: objective(params, (r, r)))(rows)
    assert float(jnp.mean(each)) == pytest.approx(float(objective(params, None)), rel=1e-10)


@pytest.mark.slow
def test_accumulated_batches_are_one_larger_batch():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((8,))))
    x = problem.inner_data.x
    values = [
        kbo.value_and_hypergradient(
            problem, omega, solver=Gradient(4, batch_size=b, accumulate=k, optimizer=optax.sgd(0.1))
        ).inner(x)
        for b, k in ((24, 1), (8, 3))
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


def test_divergence_is_reported_with_a_remedy():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((32,))))
    wild = Gradient(steps=50, optimizer=optax.sgd(1e4))
    with pytest.raises(kbo.BilevelError, match="learning rate"):
        kbo.value_and_hypergradient(problem, omega, solver=wild)
    with pytest.raises(kbo.BilevelError, match="DIVERGED"):
        kbo.minimize(problem, omega, solver=wild)
    only_adjoint = Gradient(steps=50, adjoint_optimizer=optax.sgd(1e4))
    found = kbo.value_and_hypergradient(problem, omega, solver=only_adjoint, throw=False)
    assert found.status is kbo.Status.DIVERGED


def test_loops_stop_early_at_the_tolerance_and_say_when_they_miss_it():
    problem = iv_like(kbo.NeuralSpace(AFFINE))
    early = kbo.value_and_hypergradient(problem, OMEGA, solver=Gradient(steps=5000, tol=1e-3))
    assert int(early.state.inner.count) < 5000
    again = kbo.value_and_hypergradient(
        problem, OMEGA, solver=Gradient(steps=5000, tol=1e-3), state=early.state
    )
    assert int(again.state.inner.count) <= int(early.state.inner.count) + 1
    found = kbo.value_and_hypergradient(
        problem, OMEGA, solver=Gradient(steps=3, tol=1e-9), throw=False
    )
    assert found.status is kbo.Status.INNER_NOT_CONVERGED


def test_keys_decide_what_is_drawn():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((8,))))
    grads = [
        kbo.value_and_hypergradient(problem, omega, solver=FEW, key=key).grad
        for key in (jax.random.key(1), jax.random.key(1), jax.random.key(2))
    ]
    np.testing.assert_array_equal(grads[0], grads[1])
    assert not np.allclose(grads[0], grads[2])
    kernel = problem.replace(space=kbo.RKHS(kbo.kernels.Gaussian(0.5)))
    with_key = kbo.value_and_hypergradient(kernel, omega, key=jax.random.key(1))
    assert with_key.value == kbo.value_and_hypergradient(kernel, omega).value
