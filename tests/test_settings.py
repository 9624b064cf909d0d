"""JAX users' settings, leaves, keys and devices: an answer, or a message in plain words."""

import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from tests.small import OMEGA, problem, right_grad, right_value


@pytest.mark.parametrize("setting", [
    lambda: jax.numpy_rank_promotion("raise"), lambda: jax.transfer_guard("disallow"),
    lambda: jax.default_matmul_precision("float32"),
])
def test_settings_of_the_process_change_nothing(setting, x64):
    with setting():
        found = kbo.value_and_hypergradient(problem(), OMEGA)
    np.testing.assert_allclose(found.value, right_value(OMEGA), rtol=1e-10)
    np.testing.assert_allclose(found.grad, right_grad(OMEGA), rtol=1e-7)


def networked(net):
    """A kernel of the features of a network that ω holds, and ω."""
    kernel = lambda w: kbo.kernels.Composed(kbo.kernels.Gaussian(1.0), w["net"])
    p = problem(space=lambda w: kbo.RKHS(kernel(w)), ridge=lambda w: jnp.exp(w["r"]))
    return p, {"net": net, "r": -2.0}


def test_a_network_in_omega_keeps_its_functions(x64):
    net = eqx.nn.MLP(2, 3, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    p, omega = networked(net)
    found = kbo.value_and_hypergradient(p, omega)
    assert isinstance(found.grad["net"], eqx.nn.MLP) and found.grad["net"].activation is None
    moved = {**omega, "r": -2.0 + 1e-5}
    other = kbo.value_and_hypergradient(p, moved)
    assert (other.value - found.value) / 1e-5 == pytest.approx(float(found.grad["r"]), rel=1e-3)
    result = kbo.minimize(p, omega, optimizer=kbo.optimizers.LBFGS(max_steps=2))
    assert result.value < found.value
    assert result.omega["net"](np.ones(2)).shape == (3,)
    assert result.history[1].omega["net"].activation is jnp.tanh


LEAVES = {
    "an index": np.array([0, 1]), "an integer": 1, "a flag": True, "a text": "a",
    "a complex number": 1j, "infinity": np.inf, "a key": jax.random.key(0),
}


@pytest.mark.parametrize("name", LEAVES)
def test_leaves_without_a_derivative_are_refused_by_name(name, x64):
    p = problem(space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))),
                ridge=lambda w: jnp.exp(w["r"]))
    with pytest.raises(ValueError, match=r"omega\['l'\]"):
        kbo.value_and_hypergradient(p, {"l": LEAVES[name], "r": -2.0})
    for empty in (None, {}, {"l": jnp.tanh}):
        with pytest.raises(ValueError, match="no number to tune"):
            kbo.value_and_hypergradient(p, empty)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap])
def test_transformations_are_refused_in_plain_words(transform, x64):
    value = lambda w: kbo.value_and_hypergradient(problem(), w).value
    point = jnp.stack([OMEGA, OMEGA]) if transform is jax.vmap else jnp.asarray(OMEGA)
    with pytest.raises(TypeError, match="being traced"):
        transform(value)(point)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_of_every_generator_draw(impl):
    p = problem(space=kbo.NeuralSpace(kbo.networks.MLP((4,))), ridge=1e-2)
    draw = lambda seed: kbo.value_and_hypergradient(
        p, OMEGA, key=jax.random.key(seed, impl=impl), solver=kbo.solvers.Gradient(steps=2)
    ).value
    assert draw(0) == draw(0) != draw(1)
    with pytest.raises(TypeError, match="key="):
        kbo.value_and_hypergradient(p, OMEGA, key="0", solver=kbo.solvers.Gradient(steps=2))


def test_optax_sees_omega_as_the_user_gave_it(x64):
    p = problem(space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))),
                ridge=lambda w: jnp.exp(w["r"]))
    omega = {"l": 0.1, "r": -2.0}
    run = lambda tx: kbo.minimize(p, omega, optimizer=kbo.optimizers.Optax(tx, max_steps=2)).omega
    frozen = run(optax.multi_transform(
        {"a": optax.sgd(1e-1), "b": optax.set_to_zero()}, {"l": "a", "r": "b"}
    ))
    assert frozen["r"] == -2.0 and frozen["l"] != 0.1
    decayed = run(optax.chain(
        optax.masked(optax.add_decayed_weights(1.0), {"l": False, "r": True}), optax.sgd(0.1)
    ))
    plain = run(optax.sgd(0.1))
    assert decayed["r"] > plain["r"]


DEVICES = """
import jax, numpy as np, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
import kbo
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tests.small import OMEGA, X, X_OUT, Y, Y_OUT, problem, right_value
first, second = jax.devices()
rows = NamedSharding(Mesh(np.array([first, second]), ("rows",)), PartitionSpec("rows", None))
over = lambda x: kbo.Sample(jax.device_put(x, rows), Y)
right = right_value(OMEGA)
for p in (problem(inner_data=over(X)), problem(inner_data=kbo.Sample(jax.device_put(X, second), Y))):
    found = kbo.value_and_hypergradient(p, jax.device_put(OMEGA, first))
    assert abs(found.value - right) < 1e-10 * right
apart = problem(inner_data=over(X), outer_data=kbo.Sample(jax.device_put(X_OUT, second), Y_OUT))
try:
    kbo.value_and_hypergradient(apart, OMEGA)
except ValueError as error:
    assert "inner_data.x is on" in str(error) and "device_put" in str(error)
else:
    raise AssertionError
"""


def test_sharded_arrays_are_solved_and_mixed_devices_refused():
    import os

    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run(
        [sys.executable, "-c", DEVICES], check=True, cwd=Path(__file__).parents[1],
        env=environment,
    )
