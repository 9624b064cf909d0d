"""L-BFGS itself, and its estimate of the inverse, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from kbo.linalg.lbfgs import Memory, lbfgs

pytestmark = pytest.mark.usefixtures("x64")


def test_it_minimises_what_scipy_minimises():
    rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    start = jnp.full(8, -0.5)
    of = jax.value_and_grad(rosenbrock)
    found = jax.jit(lambda x: lbfgs(of, x, Memory.empty(10, x), 500, 1e-9))(start)
    reference = scipy.optimize.minimize(
        rosenbrock, start, jac=jax.grad(rosenbrock), method="L-BFGS-B", options={"ftol": 0.0},
    )
    assert np.linalg.norm(found.grad) <= 1e-9
    np.testing.assert_allclose(found.x, reference.x, atol=1e-4)
    assert found.evaluations <= 2 * reference.nfev


def test_the_estimate_of_the_inverse_is_scipys():
    rng = np.random.default_rng(0)
    S = rng.normal(size=(5, 7))
    root = rng.normal(size=(7, 7))
    Y = S @ (root @ root.T + np.eye(7))
    memory = Memory.empty(4, jnp.zeros(7))
    for s, y in zip(S, Y, strict=True):  # one more than there is room for
        memory = memory.push(jnp.asarray(s), jnp.asarray(y))
    vector = rng.normal(size=7)
    # SciPy starts from the identity, we from γ of the last pair: both are exact on the pairs.
    gamma = (S[-1] @ Y[-1]) / (Y[-1] @ Y[-1])
    scaled = scipy.optimize.LbfgsInvHessProduct(S[1:] / np.sqrt(gamma), Y[1:] * np.sqrt(gamma))
    np.testing.assert_allclose(
        memory.inverse_times(jnp.asarray(vector)), gamma * scaled.matvec(vector), rtol=1e-10
    )
    unchanged = memory.push(jnp.asarray(S[0]), jnp.asarray(-Y[0]))
    assert unchanged.count == memory.count
