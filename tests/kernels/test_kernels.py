"""Kernels: definite, consistent between their two forms, differentiable at coincident points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process import kernels as gp
from sklearn.metrics.pairwise import laplacian_kernel, polynomial_kernel, rbf_kernel

import kbo
from kbo import kernels
from tests import helpers

GRID = [(name, *entry) for name, entry in helpers.KERNELS.items()]


def build(make, start):
    return kernels.as_kernel(make(jax.tree.map(jnp.asarray, start)))


@pytest.mark.parametrize(("name", "make", "start"), GRID)
def test_matrix_agrees_with_pairs_and_is_semidefinite(name, make, start, x64):
    x = helpers.data(20)[0]
    x[3] = x[4]
    kernel = build(make, start)
    matrix = np.asarray(kernel.matrix(jnp.asarray(x), jnp.asarray(x)))
    pairs = np.array([[kernel.evaluate(jnp.asarray(a), jnp.asarray(b)) for b in x[:6]] for a in x])
    np.testing.assert_allclose(matrix[:, :6], pairs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-12, atol=1e-14)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9 * np.abs(matrix).max()


@pytest.mark.parametrize(("name", "make", "start"), GRID)
def test_gradients_are_finite_at_coincident_points(name, make, start, x64):
    x = jnp.asarray(np.repeat(helpers.data(3)[0], 2, axis=0))

    def total(start, x):
        return jnp.sum(build(make, start).matrix(x, x) ** 2)

    grads = jax.grad(total, (0, 1))(jax.tree.map(jnp.asarray, start), x)
    assert np.isfinite(helpers.flat(grads)).all()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (kernels.Gaussian(1.3), lambda x: rbf_kernel(x, gamma=1 / (2 * 1.3**2))),
        (kernels.Laplacian(1.3), lambda x: laplacian_kernel(x, gamma=1 / 1.3)),
        (kernels.Polynomial(3, 2.0, 1.0), lambda x: polynomial_kernel(x, degree=3, gamma=0.25, coef0=1.0)),
        (kernels.Matern12(1.3), gp.Matern(1.3, nu=0.5)),
        (kernels.Matern32(1.3), gp.Matern(1.3, nu=1.5)),
        (kernels.Matern52(1.3), gp.Matern(1.3, nu=2.5)),
        (kernels.RationalQuadratic(1.3, 0.7), gp.RationalQuadratic(1.3, 0.7)),
        (2.0 * kernels.Gaussian(1.3) + kernels.Linear(), lambda x: 2 * gp.RBF(1.3)(x) + x @ x.T),
    ],
)
def test_values_are_scikit_learns(ours, theirs, x64):
    x = helpers.data(15)[0]
    np.testing.assert_allclose(ours.matrix(jnp.asarray(x), jnp.asarray(x)), theirs(x), rtol=1e-12)


def test_bad_kernels_are_refused():
    with pytest.raises(ValueError, match="kernel='rbf'"):
        kernels.as_kernel("rbf")
    with pytest.raises(ValueError, match=r"degree=1\.5"):
        kernels.Polynomial(1.5)


def test_a_kernel_times_a_function_is_a_product(x64):
    x = jnp.asarray(helpers.data()[0])
    product = kbo.kernels.Gaussian() * (lambda a, b: jnp.dot(a, b))
    expected = kbo.kernels.Gaussian().matrix(x, x) * (x @ x.T)
    np.testing.assert_allclose(product.matrix(x, x), expected, rtol=1e-12)


def test_features_of_levels_change_no_value_of_the_laplacian_nor_a_derivative(x64):
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.hstack([rng.normal(size=(30, 2)), np.eye(4)[rng.integers(4, size=30)]]))
    z = x[:7].at[0, 2:].set(0.0)  # a level that is none of these
    lengths = jnp.asarray(rng.uniform(0.5, 2.0, 6)).at[5].set(jnp.inf)

    def total(lengths, x, numbers):
        return jnp.sum(kernels.Laplacian(lengths, numbers).matrix(x, z) ** 2)

    for numbers in (2, 3, 6, 8):
        quick = kernels.Laplacian(lengths, numbers).matrix(x, z)
        known = jnp.exp(-jnp.abs((x[:, None] - z) / lengths).sum(-1))
        np.testing.assert_allclose(quick, known, rtol=1e-13)
        each = jax.grad(total)(lengths, x, numbers)
        np.testing.assert_allclose(each, jax.grad(total)(lengths, x, None), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("numbers", [0, 2, 3])
def test_the_laplacian_of_squares_is_a_kernel_between_levels_too(numbers, x64):
    """As at centres that are tuned, or at the mean of the points."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(25, 3)))
    kernel = kernels.Laplacian(jnp.array([0.5, 1.0, 2.0]), numbers)
    matrix = np.asarray(kernel.matrix(x, x))
    pairs = [[kernel.evaluate(a, b) for b in x] for a in x]
    np.testing.assert_allclose(matrix, pairs, rtol=1e-10)
    np.testing.assert_allclose(matrix.diagonal(), 1.0, rtol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
