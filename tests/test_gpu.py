"""What a GPU computes is what the CPU computes; skipped where JAX sees none."""

import jax
import numpy as np
import pytest

import kbo
from kbo.solvers import Falkon, Nystrom
from tests import helpers

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX sees no GPU"),
]


@pytest.mark.parametrize("solver", [Nystrom, Falkon])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_hypergradients_on_the_gpu(solver, loss, x64):
    problem, omega = helpers.everything_problem("gaussian_ard", loss, 150, 40)
    z = np.random.default_rng(0).normal(size=(20, helpers.D))
    on_gpu = kbo.value_and_hypergradient(problem, omega, solver=solver(z))
    with jax.default_device(jax.devices("cpu")[0]):
        on_cpu = kbo.value_and_hypergradient(problem, omega, solver=solver(z))
    np.testing.assert_allclose(on_gpu.value, on_cpu.value, rtol=1e-9)
    on_gpu, on_cpu = helpers.flat(on_gpu.grad), helpers.flat(on_cpu.grad)
    # Falkon's conjugate gradients stop at a tolerance, which small entries see.
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-6, atol=1e-7 * np.abs(on_cpu).max())


@pytest.mark.parametrize("n_centers", [None, 40])
def test_estimators_on_the_gpu(n_centers):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = np.sin(X.sum(1))
    fit = lambda device: kbo.KernelBilevelRegressor(
        device=device, n_centers=n_centers, max_iter=5
    ).fit(X, y)
    np.testing.assert_allclose(fit("gpu").predict(X), fit("cpu").predict(X), atol=1e-5)


@pytest.mark.parametrize("ridge", [1e-2, 1e-3])
def test_single_precision_means_float32(ridge):
    """Not the ten bits of mantissa with which JAX multiplies on GPUs unless it is told."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)).astype(np.float32)
    y = np.sin(X.sum(1))
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(X[:300], y[:300]),
        kbo.Sample(X[300:], y[300:]), lambda w: kbo.RKHS(kbo.kernels.Gaussian(w)), ridge,
    )
    omega = np.float32(1.0)
    single = kbo.value_and_hypergradient(problem, omega)
    assert single.grad.dtype == np.float32
    with jax.default_device(jax.devices("cpu")[0]):
        on_cpu = kbo.value_and_hypergradient(problem, omega)
    np.testing.assert_allclose(single.value, on_cpu.value, rtol=1e-3)
    np.testing.assert_allclose(single.grad, on_cpu.grad, rtol=1e-3)


@pytest.mark.parametrize("n", [60, 2000])
def test_the_exact_solver_on_the_gpu_does_not_go_to_the_host(n, monkeypatch, x64):
    problem, omega = helpers.everything_problem("gaussian", "squared", n, 40)
    with jax.default_device(jax.devices("cpu")[0]):
        on_cpu = kbo.value_and_hypergradient(problem, omega)
    monkeypatch.setattr(kbo.solvers.Exact, "system", lambda *_: pytest.fail("on the host"))
    on_gpu = kbo.value_and_hypergradient(problem, omega)
    np.testing.assert_allclose(on_gpu.value, on_cpu.value, rtol=1e-9)
    np.testing.assert_allclose(helpers.flat(on_gpu.grad), helpers.flat(on_cpu.grad), rtol=1e-6)
