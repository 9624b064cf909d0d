"""Spaces of networks against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import kbo
from kbo.networks import MLP, LastLayer
from kbo.solvers import Gradient
from kbo.spaces import Sobolev
from tests import helpers
from tests.neural import AFFINE, CONVERGED, FEW, OMEGA, functional_case, iv_like, quick

pytestmark = pytest.mark.usefixtures("x64")


def affine(x):
    return np.column_stack([x, np.ones(len(x))])


def central(value, omega, step=1e-5):
    """Central differences of a function of a dict of numbers."""
    moved = lambda k, s: value({**omega, k: omega[k] + s})
    return {k: (moved(k, step) - moved(k, -step)) / (2 * step) for k in omega}


@pytest.mark.parametrize("slope_weight", [None, 0.3])
def test_an_affine_network_gives_the_exact_answer(slope_weight):
    product = None if slope_weight is None else Sobolev(slope_weight)
    problem = iv_like(kbo.NeuralSpace(AFFINE, inner_product=product))
    hg = kbo.value_and_hypergradient(problem, OMEGA, solver=CONVERGED)
    x, t, x_out, y = helpers.data(60, 40)
    phi, out = affine(x), affine(x_out)
    norm = phi.T @ phi / 60 + (slope_weight or 0) * np.diag([1.0] * helpers.D + [0.0])

    def solve(omega):
        A = phi.T @ phi / 60 + np.exp(omega["log_ridge"]) * norm
        return A, np.linalg.solve(A, phi.T @ (omega["a"] * t) / 60)

    value = lambda omega: 0.5 * np.mean((out @ solve(omega)[1] - y) ** 2)
    A, theta = solve(OMEGA)
    adjoint = -np.linalg.solve(A, out.T @ (out @ theta - y) / 40)
    assert hg.status is kbo.Status.CONVERGED
    assert hg.value == pytest.approx(value(OMEGA), rel=1e-6)
    np.testing.assert_allclose(hg.inner(x), phi @ theta, atol=1e-6)
    np.testing.assert_allclose(hg.adjoint(x_out), out @ adjoint, atol=1e-6)
    for name, slope in central(value, OMEGA).items():
        assert float(hg.grad[name]) == pytest.approx(slope, rel=1e-5)


def test_an_affine_network_is_exact_for_other_losses():
    problem = iv_like(
        kbo.NeuralSpace(AFFINE), inner_loss=lambda w, v, t: jnp.log1p(jnp.exp(-w["a"] * t * v))
    )
    hg = kbo.value_and_hypergradient(problem, OMEGA, solver=CONVERGED)
    x, t, x_out, y = helpers.data(60, 40)
    phi, out = affine(x), affine(x_out)

    def value(omega):
        ridge = np.exp(omega["log_ridge"])
        objective = lambda theta: (
            np.mean(np.logaddexp(0, -omega["a"] * t * (phi @ theta)))
            + 0.5 * ridge * np.mean((phi @ theta) ** 2)
        )
        theta = scipy.optimize.minimize(objective, np.zeros(4), options={"gtol": 1e-9}).x
        return 0.5 * np.mean((out @ theta - y) ** 2)

    assert hg.value == pytest.approx(value(OMEGA), rel=1e-5)
    for name, slope in central(value, OMEGA, 1e-3).items():
        assert float(hg.grad[name]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_frozen_features_equal_the_feature_space():
    frozen = Gradient(steps=1, optimizer=optax.sgd(0.0), seed=3)
    space = kbo.NeuralFeatures(MLP((8,)), 6)
    problem = iv_like(space)
    hg = kbo.value_and_hypergradient(problem, OMEGA, solver=frozen)
    body = space.initial(jax.random.split(frozen.key)[0], problem.inner_data.x[0])
    features = lambda x: jnp.append(space.network.apply(body, x), 1.0)
    exact = kbo.value_and_hypergradient(iv_like(kbo.FeatureSpace(features)), OMEGA)
    assert hg.value == pytest.approx(exact.value, rel=1e-10)
    np.testing.assert_allclose(helpers.flat(hg.grad), helpers.flat(exact.grad), rtol=1e-8)
    report = kbo.check_hypergradient(problem, OMEGA, solver=frozen)
    assert report.ok, report


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_a_wide_network_gives_the_functional_gradient():
    problem, omega, exact = functional_case()
    space = kbo.NeuralSpace(MLP((256,), jnp.tanh))
    hg = kbo.value_and_hypergradient(
        problem.replace(space=space), omega, solver=Gradient(steps=300, optimizer=optax.lbfgs())
    )
    assert cosine(hg.grad, exact) > 0.99
    assert np.linalg.norm(hg.grad - exact) < 0.1 * np.linalg.norm(exact)


@pytest.mark.parametrize("loss", quick(helpers.LOSSES, ("huber",)))
def test_the_swap_works_for_every_loss(loss):
    check_swap(*helpers.everything_problem(loss=loss), "mlp")


@pytest.mark.slow
@pytest.mark.parametrize("network", helpers.NETWORKS)
@pytest.mark.parametrize("space", ["gaussian_ard", "composed", "features"])
def test_the_swap_works_for_every_space(space, network):
    check_swap(*helpers.everything_problem(space=space, loss="squared_vector"), network)


@pytest.mark.parametrize(
    "network", quick(helpers.NETWORKS, ("module", "deep_kernel"))
)
def test_the_swap_works_for_every_network(network):
    check_swap(*helpers.everything_problem(), network)


def check_swap(problem, omega, network):
    """The hypergradient is ∂_ωΛ, written out with the two functions as they are."""
    problem = problem.replace(space=helpers.NETWORKS[network](problem.n_outputs or 1))
    solver = Gradient(steps=5, optimizer=optax.adam(1e-2))
    hg = kbo.value_and_hypergradient(problem, omega, solver=solver)
    assert hg.status.usable
    if network in ("last_layer", "deep_kernel", "sobolev"):
        return  # other norms
    p = problem.n_outputs

    def lagrangian(omega):
        inner, outer = problem.inner_data(omega), problem.outer_data
        points = lambda f, x: jnp.reshape(f(x), (len(x), -1) if p else -1)
        h, a, h_out = points(hg.inner, inner.x), points(hg.adjoint, inner.x), points(hg.inner, outer.x)
        loss = lambda v, t: problem.inner_loss(omega, v, t)
        slopes = jax.vmap(jax.grad(loss))(h, inner.target)
        w = inner.weights / jnp.sum(inner.weights)
        pair = lambda u, v: jnp.sum(w * jnp.sum(jnp.reshape(u * v, (len(w), -1)), 1))
        out = jax.vmap(lambda v, t: problem.outer_loss(omega, v, t))(h_out, outer.target)
        extra = problem.penalty(omega) + problem.ridge(omega) * pair(h, a) + pair(slopes, a)
        return jnp.mean(out) + extra, jnp.mean(out) + problem.penalty(omega)

    as_arrays = jax.tree.map(jnp.asarray, omega)
    grad, value = jax.grad(lagrangian, has_aux=True)(as_arrays)
    assert hg.value == pytest.approx(float(value), rel=1e-9)
    np.testing.assert_allclose(helpers.flat(hg.grad), helpers.flat(grad), rtol=1e-6, atol=1e-9)


def test_folds_are_replicates_with_networks_of_their_own():
    problem, omega = helpers.folds_problem()
    problem = problem.replace(space=kbo.NeuralSpace(AFFINE))
    hg = kbo.value_and_hypergradient(problem, omega, solver=CONVERGED)
    x, t, _, _ = helpers.data(30, 1)
    train, test = helpers.fold_weights(30)
    phi, losses = affine(x), []
    for w, v in zip(train, test, strict=True):
        A = (1 + np.exp(-3.0)) * (w[:, None] * phi).T @ phi
        theta = np.linalg.solve(A, phi.T @ (w * t))
        losses.append(0.5 * np.sum(v * (phi @ theta - t) ** 2) / 30)
    assert hg.value == pytest.approx(np.sum(losses), rel=1e-6)


def test_no_second_derivative_of_a_network_is_taken():
    @jax.custom_jvp
    def slope(x):
        return jnp.cos(x)

    @slope.defjvp
    def _(primals, tangents):
        raise AssertionError("a second derivative of the network was taken")

    @jax.custom_jvp
    def sine(x):
        return jnp.sin(x)

    @sine.defjvp
    def _(primals, tangents):
        return sine(primals[0]), slope(primals[0]) * tangents[0]

    with pytest.raises(AssertionError, match="second derivative"):
        jax.hessian(lambda x: sine(x))(1.0)
    mlp = MLP((8,), sine)
    both = ("squared", "logistic")
    for space, losses in (
        (kbo.NeuralSpace(mlp), both), (kbo.NeuralFeatures(mlp, 4), both),
        (kbo.NeuralSpace(LastLayer(mlp, 4)), both[:1]),
    ):
        for loss in losses:
            problem, omega = helpers.everything_problem(loss=loss)
            hg = kbo.value_and_hypergradient(problem.replace(space=space), omega, solver=FEW)
            assert hg.status.usable


@pytest.mark.parametrize("make, message", [
    (lambda: kbo.NeuralSpace(3.0), "network=3.0"),
    (lambda: kbo.NeuralFeatures(n_features=0), "n_features=0"),
    (lambda: MLP((0,)), "widths"),
    (lambda: MLP((4,), "nothing"), "activation='nothing'"),
    (lambda: Gradient(steps=0), "steps=0"),
    (lambda: Gradient(batch_size=0), "batch_size=0"),
    (lambda: Gradient(accumulate=2), "accumulate=2"),
    (lambda: Gradient(tol=-1.0), "tol"),
])
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_combinations_without_sense_are_refused():
    neural = iv_like(kbo.NeuralSpace())
    with pytest.raises(ValueError, match=r"solver=kbo\.solvers\.Gradient"):
        kbo.value_and_hypergradient(neural, OMEGA, solver=kbo.solvers.Exact())
    with pytest.raises(ValueError, match="Gradient needs space=NeuralSpace"):
        kbo.value_and_hypergradient(
            iv_like(kbo.RKHS(kbo.kernels.Gaussian())), OMEGA, solver=Gradient()
        )
    with pytest.raises(ValueError, match="not negative"):
        kbo.value_and_hypergradient(neural.replace(ridge=-1.0), OMEGA)
    with pytest.raises(ValueError, match="n_outputs=1"):
        module = eqx.nn.MLP(helpers.D, 2, 8, 1, key=jax.random.key(0))
        kbo.value_and_hypergradient(iv_like(kbo.NeuralSpace(module)), OMEGA)
    with pytest.raises(ValueError, match="n_features=4"):
        module = eqx.nn.MLP(helpers.D, 2, 8, 1, key=jax.random.key(0))
        kbo.value_and_hypergradient(
            iv_like(kbo.NeuralSpace(LastLayer(module, 4)), inner_loss=kbo.losses.Squared()), OMEGA
        )
    for networks in ((LastLayer(),), (MLP(), LastLayer())):
        with pytest.raises(ValueError, match="inner_product=Sobolev with a LastLayer"):
            kbo.NeuralSpace(*networks, inner_product=Sobolev())
        solved = kbo.NeuralSpace(*networks)
        huber = iv_like(solved, inner_loss=kbo.losses.Huber(1.0))
        with pytest.raises(ValueError, match=r"inner_loss=Huber.* with a LastLayer"):
            kbo.value_and_hypergradient(huber, OMEGA)
        squared = iv_like(solved, inner_loss=kbo.losses.Squared())
        with pytest.raises(ValueError, match="at least 66"):
            kbo.value_and_hypergradient(squared, OMEGA, solver=Gradient(batch_size=65))
    with pytest.raises(ValueError, match="decay=0"):
        LastLayer(decay=0)
    with pytest.raises(ValueError, match="n_features=0"):
        LastLayer(n_features=0)
    problem, omega = helpers.folds_problem()
    with pytest.raises(ValueError, match="folds"):
        kbo.value_and_hypergradient(problem.replace(space=kbo.NeuralFeatures()), omega)
