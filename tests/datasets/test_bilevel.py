"""Bilevel problems whose solutions are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kbo.datasets import make_bilevel_quadratics, make_mehra_hamm
from tests.helpers import central

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def quadratics():
    with jax.enable_x64(True):
        return make_bilevel_quadratics(256, 20, 10, random_state=0)


def test_quadratics_are_solved_in_closed_form(quadratics):
    q, omega = quadratics, np.linspace(-1, 1, 10)
    inner = q.inner(omega)
    at = lambda theta: jnp.mean(jax.vmap(lambda t: q.problem.inner_loss(omega, theta, t))(
        q.problem.inner_data.target))
    assert np.abs(jax.grad(at)(inner)).max() < 1e-12
    losses = jax.vmap(lambda t: q.problem.outer_loss(omega, inner, t))(q.problem.outer_data.target)
    assert q.value(omega) == pytest.approx(float(losses.mean()), rel=1e-12)
    assert np.abs(central(q.value, q.solution)).max() < 1e-8
    assert q.lowest == q.value(q.solution) <= q.value(omega)
    other = make_bilevel_quadratics(256, 20, 10, random_state=0)
    np.testing.assert_array_equal(other.solution, q.solution)
    with pytest.raises(ValueError, match="not convex in 20 draws"):
        make_bilevel_quadratics(64, 10, 20, cross=50.0, random_state=0)


@pytest.mark.parametrize("example", [1, 2, 3, 4])
def test_the_solutions_of_mehra_and_hamm_are_solutions(example):
    made = make_mehra_hamm(example, size=4, random_state=1)
    problem, inner = made.problem, made.problem.inner_data.target
    t = {name: leaf[0] for name, leaf in inner.items()}
    rows = np.linalg.pinv(t["A"]) @ t["A"]
    u = 0.5 * rows @ np.ones(4) if example % 2 else np.zeros(4)
    v = u - made.v0
    assert made.error(u, lambda x: v) == pytest.approx(0, abs=1e-12)
    assert problem.inner_loss(u, v, t) == pytest.approx(0, abs=1e-20)
    # No pair (u, v) with v a minimiser of J has a lower L.
    rng, null = np.random.default_rng(0), np.eye(4) - rows
    for _ in range(50):
        other = rng.normal(size=4)
        minimiser = (np.ones(4) - other if example % 2 else other) + null @ rng.normal(size=4)
        shifted = minimiser - made.v0
        assert problem.inner_loss(other, shifted, t) == pytest.approx(0, abs=1e-20)
        lowest = problem.outer_loss(u, v, t)
        assert problem.outer_loss(other, shifted, t) >= lowest - 1e-12
