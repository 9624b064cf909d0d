"""Features that are transformed: the formula, its tangent, and what is left as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.kernels import Gaussian, Linear, Warped
from kbo.parameters import Tunable, tunable_names


def warped(skew, center=1.5, spread=2.0):
    return Warped(Gaussian(1.0), np.array([center]), np.array([spread]), jnp.array([skew]))


@pytest.mark.parametrize("skew", [0.05, 0.5, 1 - 1e-9, 1.0, 1 + 1e-6, 2.0, 20.0])
def test_manlys_formula_and_its_tangent(skew, x64):
    x = np.linspace(-8, 11, 77)
    u = (x - 1.5) / 4.0
    log = np.log(skew)
    t = u * log
    inside = np.expm1(np.minimum(t, 3.0)) + np.exp(3.0) * np.maximum(t - 3.0, 0.0)
    expected = x if abs(log) < 1e-8 else 1.5 + 4.0 * inside / log
    found = np.asarray(warped(skew).transform(x[:, None])[:, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=2e-5 * abs(log) + 2e-8)
    assert (np.diff(found) > 0).all()


def test_the_slope_at_the_centre_is_one_and_skews_have_gradients(x64):
    of = lambda x, skew: warped(skew).transform(jnp.array([x]))[0]
    for skew in (0.3, 1.0, 3.0):
        assert float(jax.grad(of)(1.5, skew)) == pytest.approx(1.0)
        differences = (of(4.0, skew + 1e-5) - of(4.0, skew - 1e-5)) / 2e-5
        assert float(jax.grad(of, 1)(4.0, skew)) == pytest.approx(float(differences), rel=1e-5)


def test_a_feature_of_spread_zero_is_left_as_it_is(x64):
    kernel = Warped(Gaussian(1.0), np.zeros(2), np.array([0.0, 1.0]), np.array([5.0, 5.0]))
    x = np.random.default_rng(0).normal(size=(4, 2))
    moved = np.asarray(kernel.transform(x))
    np.testing.assert_array_equal(moved[:, 0], x[:, 0])
    assert not np.allclose(moved[:, 1], x[:, 1])
    grad = jax.grad(lambda b: kernel.matrix(x, x).sum() + 0 * b)(1.0)
    assert np.isfinite(grad)


def test_only_the_skew_and_the_inner_kernels_own_numbers_are_tuned():
    kernel = Warped(Linear(np.ones(2)), np.ones(2), np.ones(2), np.ones(2))
    inner = tunable_names(Linear(np.ones(2)))
    assert tunable_names(kernel) == inner | {"skew"}
    assert set(Tunable.of(kernel).names()) <= inner | {"skew"}
    assert kbo.kernels.Linear.fixed  # its own fixed numbers stay so inside
    assert not set(kbo.kernels.Linear.fixed) & tunable_names(kernel)
