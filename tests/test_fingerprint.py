"""What a computation depends on is seen: stale programs and stale checkpoints are not used."""

import functools
import gc
import subprocess
import sys
import threading
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo import programs
from kbo.fingerprint import fingerprint, read_structure
from tests.small import OMEGA, X, Y, problem, right_value

SCALE = 1.0
TABLE = {"scale": 1.0}


def helper(t):
    return SCALE * t


class Scaled:
    """A callable object that is no pytree."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, w, v, t):
        return 0.5 * (v - self.scale * t) ** 2


class Settings:
    scale = 1.0


def set_scale(value):
    globals()["SCALE"] = value


def loss_module(scale):
    module = types.ModuleType("constants_of_a_user")
    module.scale = scale
    return module


def reading(cell):
    return lambda w, v, t: 0.5 * (v - cell[0] * t) ** 2


CELL = [1.0]
module = loss_module(1.0)
shared = Scaled(1.0)
partial = functools.partial(lambda scale, w, v, t: 0.5 * (v - scale["s"] * t) ** 2, {"s": 1.0})


# name -> a loss that reads a scale somewhere, and how to change the scale there
READERS = {
    "global number": (lambda w, v, t: 0.5 * (v - SCALE * t) ** 2, set_scale),
    "global dict": (
        lambda w, v, t: 0.5 * (v - TABLE["scale"] * t) ** 2, lambda s: TABLE.update(scale=s),
    ),
    "helper's global": (lambda w, v, t: 0.5 * (v - helper(t)) ** 2, set_scale),
    "class attribute": (
        lambda w, v, t: 0.5 * (v - Settings.scale * t) ** 2,
        lambda s: setattr(Settings, "scale", s),
    ),
    "module attribute": (
        lambda w, v, t: 0.5 * (v - module.scale * t) ** 2, lambda s: setattr(module, "scale", s),
    ),
    "attribute of a callable": (shared, lambda s: setattr(shared, "scale", s)),
    "partial": (partial, lambda s: partial.args[0].update(s=s)),
    "closure": (
        reading(CELL), lambda s: CELL.__setitem__(0, s),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_what_a_function_reads_is_read_anew_at_each_call(name, x64):
    loss, change = READERS[name]
    p = problem(inner_loss=loss)
    try:
        for scale in (1.0, 3.0, 1.0):
            change(scale)
            found = kbo.value_and_hypergradient(p, OMEGA)
            np.testing.assert_allclose(found.value, right_value(OMEGA, y=scale * Y), rtol=1e-10)
    finally:
        change(1.0)


@pytest.mark.parametrize("name", READERS)
def test_a_run_whose_code_changed_is_not_resumed(name, tmp_path, x64):
    loss, change = READERS[name]
    run = lambda: kbo.minimize(
        problem(inner_loss=loss), OMEGA, checkpoint=tmp_path / "run",
        optimizer=kbo.optimizers.LBFGS(max_steps=1),
    )
    first = run()
    assert run().value == first.value
    try:
        change(2.0)
        with pytest.raises(ValueError, match="belongs to another problem"):
            run()
    finally:
        change(1.0)


def test_an_edited_helper_is_another_program():
    before = read_structure(READERS["helper's global"][0])
    original = helper.__code__
    try:
        helper.__code__ = (lambda t: SCALE * t + 1).__code__
        assert read_structure(READERS["helper's global"][0]).digest != before.digest
    finally:
        helper.__code__ = original
    assert read_structure(READERS["helper's global"][0]).digest == before.digest


UNREADABLE = {
    "generator": (k for k in range(3)), "lock": threading.Lock(),
    "weak reference": weakref.ref(shared),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_seen_is_named_and_not_resumed(name, tmp_path, x64):
    thing = UNREADABLE[name]
    loss = lambda w, v, t: 0.5 * (v - t) ** 2 if thing is not None else 0.0
    assert "thing" not in read_structure(loss).unseen and read_structure(loss).unseen
    with pytest.raises(ValueError, match=r"checkpoint cannot tell.*state of which"):
        kbo.minimize(problem(inner_loss=loss), OMEGA, checkpoint=tmp_path / "run")
    assert not list(tmp_path.iterdir())
    kbo.value_and_hypergradient(problem(inner_loss=loss), OMEGA)  # without one it is no obstacle


def test_equal_code_has_equal_digests_and_other_code_others():
    make = lambda c: lambda w: c * w
    assert fingerprint(make(1.0)) == fingerprint(make(1.0))
    others = [make(1.0), make(2.0), make(jnp.ones(2)), make(np.ones(2) * 2), lambda w: w,
              jnp.tanh, jnp.sinh, jax.jit(make(1.0)), jax.jit(make(3.0)), X[:3].mean, X[:4].mean]
    assert len({fingerprint(value) for value in others}) == len(others)
    assert read_structure(problem(), data=False).digest == read_structure(
        problem(inner_data=kbo.Sample(2 * X, Y)), data=False
    ).digest
    assert fingerprint(problem()) != fingerprint(problem(inner_data=kbo.Sample(2 * X, Y)))


def rebuilt(captured=None):
    """The same problem of new functions."""
    shift = 0.0 if captured is None else captured
    return problem(
        inner_loss=lambda w, v, t: 0.5 * (v - t) ** 2 + 0.0 * jnp.sum(shift),
        outer_loss=lambda w, v, t: 0.5 * (v - t) ** 2,
        space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w[0]))),
        ridge=lambda w: jnp.exp(w[1]),
    )


def test_rebuilding_a_problem_compiles_nothing(x64):
    kbo.value_and_hypergradient(rebuilt(), OMEGA)
    before = programs.traces()
    values = [kbo.value_and_hypergradient(rebuilt(), OMEGA).value for _ in range(5)]
    assert programs.traces() == before
    np.testing.assert_allclose(values, right_value(OMEGA), rtol=1e-10)


def test_what_functions_captured_is_let_go(x64, monkeypatch):
    for kept in programs.all_programs():
        monkeypatch.setattr(kept, "size", 2)
    captured = np.ones(1000)
    alive = weakref.ref(captured)
    kbo.value_and_hypergradient(rebuilt(captured), OMEGA)
    del captured
    for size in (2, 3, 4):
        kbo.value_and_hypergradient(rebuilt(np.ones(size)), OMEGA)
    gc.collect()
    assert alive() is None


def test_a_loss_that_counts_its_calls_is_compiled_once(x64):
    calls = []

    def loss(w, v, t):
        calls.append(1)
        return 0.5 * (v - t) ** 2

    kbo.value_and_hypergradient(problem(inner_loss=loss), OMEGA)
    first = len(calls)
    for _ in range(3):
        kbo.value_and_hypergradient(problem(inner_loss=loss), OMEGA)
    assert len(calls) == first


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


def test_what_looks_alike_is_told_apart():
    import functools

    import jax

    from kbo.fingerprint import fingerprint

    def holding(value):
        return lambda w: (w, value)

    def ruled(rule):
        function = jax.custom_jvp(lambda x: x**2)
        function.defjvp(rule)
        return lambda w: function(w)

    class Scaled:
        def __init__(self, function, scale):
            functools.update_wrapper(self, function)
            self.scale = scale

        def __call__(self, w):
            return self.scale * self.__wrapped__(w)

    def base(w):
        return w

    def classed(value):
        class Settings:
            _s = value
        return lambda w: Settings._s * w

    pairs = [
        (holding([[1.0], 2.0]), holding([[1.0, 2.0]])),
        (holding({"a": {"b": 1.0}, "c": 5.0}), holding({"a": {"b": 1.0, "c": 5.0}})),
        (ruled(lambda p, t: (p[0] ** 2, t[0])), ruled(lambda p, t: (p[0] ** 2, 2 * t[0]))),
        (Scaled(base, 1.0), Scaled(base, 10.0)),
        (classed(1.0), classed(2.0)),
    ]
    for left, right in pairs:
        assert fingerprint(left) == fingerprint(left) != fingerprint(right)


def test_a_search_with_a_kernel_and_a_loss_of_ones_own_resumes(tmp_path, x64):
    """Classes written outside of kbo are abstract base classes' children: abc keeps a cache there."""
    from tests import small

    class Wave(kbo.kernels.Kernel):
        lengthscale: float = 1.0

        def evaluate(self, x, z):
            return 1 / (1 + jnp.sum(((x - z) / self.lengthscale) ** 2))

    class LogCosh(kbo.losses.Loss):
        def __call__(self, omega, prediction, target):
            return jnp.sum(jnp.logaddexp(prediction - target, target - prediction))

    problem = small.problem(inner_loss=LogCosh(), space=lambda w: kbo.RKHS(Wave(jnp.exp(w[0]))))
    search = functools.partial(
        kbo.minimize, problem, small.OMEGA, optimizer=kbo.optimizers.LBFGS(max_steps=2))
    whole, again = search(checkpoint=tmp_path / "run"), search(checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(whole.omega, again.omega)
