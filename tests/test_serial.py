"""What is written is what is read, whatever holds it."""

import collections
import io
import pickle
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo import serial
from kbo.serial import write_atomically
from tests.small import OMEGA, X, problem


class Pair(NamedTuple):
    left: Any
    right: Any


class Module(eqx.Module):
    a: Any
    b: Any


RANDOM = np.random.default_rng(0)
a, b = RANDOM.normal(size=(2, 3, 2))
TREES = {
    "array": a, "none": None, "number": 3, "list": [a, None, [b]], "pair": Pair(a, [b, 1.5]),
    "module": Module(a, Pair(b, None)), "dict": {"w2": a, "w1": b},
    "ordered": collections.OrderedDict(w2=a, w1=b), "numbered": {k: a + k for k in range(12)},
    "tuple keys": {(1, 2): a, (0, 3): b}, "integers": np.arange(5, dtype=np.int8),
    "bfloat16": [jnp.asarray(a, jnp.bfloat16), jnp.zeros((), jnp.bfloat16)],
    "adam": optax.adam(1e-2, mu_dtype=jnp.bfloat16).init({"w": jnp.asarray(a, jnp.float32)}),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_come_back(name, x64):
    tree = TREES[name]
    file = io.BytesIO()
    serial.write(file, tree, fingerprint="f")
    file.seek(0)
    found, named = serial.read(file)
    assert str(named["fingerprint"]) == "f"
    back = serial.like(tree, found)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for new, old in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert np.asarray(new).dtype == np.asarray(old).dtype or name == "number"
        np.testing.assert_array_equal(np.asarray(new, float), np.asarray(old, float))


def test_another_size_is_no_start_and_objects_are_refused():
    assert serial.like([a], [a[:2]])[0] is a
    with pytest.raises(TypeError, match="array of numbers"):
        serial.write(io.BytesIO(), [object()])


def test_optimisers_in_half_precision_resume(tmp_path):
    solver = kbo.solvers.Gradient(3, optimizer=optax.adam(1e-2, mu_dtype=jnp.bfloat16))
    networks = problem(space=kbo.NeuralSpace(kbo.networks.MLP((4,))), ridge=0.1)
    networks = networks.replace(penalty=lambda w: 0.1 * jnp.sum(w**2))
    search = lambda path, **more: kbo.minimize(
        networks, OMEGA, solver=solver, optimizer=kbo.optimizers.Optax(optax.sgd(0.1), max_steps=3),
        checkpoint=path, throw=False, **more,
    )

    def kill(record):
        if record.step == 1:
            raise Killed

    whole = search(tmp_path / "whole")
    with pytest.raises(Killed):
        search(tmp_path / "killed", callback=kill)
    np.testing.assert_array_equal(search(tmp_path / "killed").omega, whole.omega)


def own_space(omega):
    return kbo.RKHS(lambda x, z: jnp.exp(-jnp.sum((x - z) ** 2) * jnp.exp(omega[0])))


def test_functions_are_pickled_as_problem_and_omega(x64):
    found = kbo.value_and_hypergradient(problem(space=own_space), OMEGA).inner
    stored = pickle.dumps(found)
    np.testing.assert_array_equal(pickle.loads(stored)(X), found(X))
    mapped = jax.tree.map(lambda leaf: leaf, found)
    np.testing.assert_array_equal(mapped(X), found(X))
    np.testing.assert_array_equal(mapped.instance.ridge, found.instance.ridge)
    assert mapped.instance.dtype == found.instance.dtype and "ridge" in repr(mapped.instance)
    with pytest.raises(AttributeError, match="nothing"):
        mapped.instance.nothing  # noqa: B018


def test_problems_of_a_mean_are_prepared_wherever_it_stands(x64):
    from kbo.hypergradients import Mean, Stochastic

    single = lambda p: jax.tree.map(
        lambda v: v.astype(jnp.float32) if eqx.is_array(v) else v, p
    )
    first, second = problem(), problem(ridge=lambda w: 2 * jnp.exp(w[1]))
    both = (first, second)
    value = lambda method, p=first, **more: kbo.value_and_hypergradient(
        p, OMEGA, method=method, **more
    ).value
    solver = kbo.solvers.Nystrom(5)
    plain = value(Mean(both), solver=solver)
    assert value(Mean((first, second), Mean(both)), solver=solver) == pytest.approx(plain)
    assert value(Stochastic(method=Mean(both)), solver=solver) == pytest.approx(plain)
    exact = value(Mean(both))
    assert value(Mean((first, single(second)))) == pytest.approx(exact, rel=1e-5)


class Killed(Exception):
    pass


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


def test_files_have_the_usual_permissions(tmp_path):
    import os

    write_atomically(tmp_path / "ours", lambda f: f.write(b""))
    (tmp_path / "usual").write_bytes(b"")
    assert os.stat(tmp_path / "ours").st_mode == os.stat(tmp_path / "usual").st_mode
