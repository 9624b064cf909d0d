"""Last layers that are solved for while what is below them is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import kbo
from kbo.networks import MLP, LastLayer
from kbo.solvers import Gradient
from tests import helpers
from tests.neural import FEW, OMEGA, functional_case, iv_like

pytestmark = pytest.mark.usefixtures("x64")


def test_frozen_features_below_last_layers_give_the_closed_form():
    """‖·‖ is that of L2: h = ΦW with ((1 + ridge)ΦᵀΦ/n + decay)W = Φᵀ(at)/n."""
    space = kbo.NeuralSpace(LastLayer(MLP((8,)), 6, decay=1e-2))
    solver = Gradient(steps=1, optimizer=optax.sgd(0.0))
    loss = kbo.losses.SquaredTo(lambda w, t: w["a"] * t)
    hg = kbo.value_and_hypergradient(iv_like(space, inner_loss=loss), OMEGA, solver=solver)
    x, t, x_out, y = helpers.data(60, 40)
    featured = lambda of, x: jax.vmap(space.network.features, (None, 0))(
        jax.tree.map(lambda leaf: leaf[0], of.params), x
    )
    phi, out = (np.asarray(featured(hg.state.inner, z)) for z in (x, x_out))
    psi, psi_out = (np.asarray(featured(hg.state.adjoint, z)) for z in (x, x_out))
    assert not np.allclose(phi, psi)
    gram = lambda phi: (1 + np.exp(-2.0)) * phi.T @ phi / 60 + 1e-2 * np.eye(7)
    residual = out @ np.linalg.solve(gram(phi), phi.T @ t * OMEGA["a"] / 60) - y
    adjoint = -np.linalg.solve(gram(psi), psi_out.T @ residual / 40)
    assert hg.value == pytest.approx(0.5 * np.mean(residual**2), rel=1e-9)
    np.testing.assert_allclose(hg.inner(x_out), residual + y, atol=1e-9)
    np.testing.assert_allclose(hg.adjoint(x), psi @ adjoint, atol=1e-9)


@pytest.mark.parametrize("loss", ["squared", "squared_vector"])
def test_last_layers_are_minimisers_whose_minimum_has_the_slope_of_the_rest(loss):
    """Against the objectives that know of no last layer, on three replicates with weights."""
    from kbo.solvers._training.objectives import adjoint_objective, training_objective
    from kbo.solvers._training.solved_layer import SolvedAdjoint, SolvedInner

    problem, omega = helpers.everything_problem(loss=loss)
    network = LastLayer(MLP((8,)), 5, decay=0.02)
    instance = problem.replace(
        space=kbo.NeuralSpace(network), ridge=jnp.array([0.1, 0.3, 1.0])
    ).at(omega)
    p, (n, m) = problem.n_outputs or 1, (instance.inner.size, instance.outer.size)
    h, g = (
        jnp.asarray(np.random.default_rng(k).normal(size=(3, size, p)))
        for k, size in ((0, n), (1, m))
    )
    start = instance.space.initial(jax.random.key(0), instance.inner.x[0], p, 3)[0].params
    decayed = lambda objective: lambda params, rows: (
        objective(params, rows) + 0.01 * jnp.sum(params["layer"] ** 2)
    )
    for rows in (None, (jnp.arange(0, n, 2), jnp.arange(0, m, 2))):
        for solved, plain in (
            (SolvedInner(instance), decayed(training_objective(instance))),
            (SolvedAdjoint(instance, g), decayed(adjoint_objective(instance, h, g))),
        ):
            complete = solved.complete(start)
            if rows is not None:  # the minimiser on a batch, by Newton's step from zero
                of_layer = lambda layer: plain({**start, "layer": layer}, rows)
                zero = jnp.zeros_like(start["layer"])
                hessian = jax.hessian(of_layer)(zero).reshape(zero.size, zero.size)
                step = np.linalg.solve(hessian, jax.grad(of_layer)(zero).ravel())
                complete = {**start, "layer": zero - step.reshape(zero.shape)}
            value, slopes = jax.value_and_grad(plain)(complete, rows)
            reached, own = jax.value_and_grad(solved)(start, rows)
            size = np.linalg.norm(helpers.flat(jax.grad(plain)(start, rows)["layer"]))
            assert np.linalg.norm(helpers.flat(slopes["layer"])) < 1e-9 * size
            assert float(reached) == pytest.approx(float(value), rel=1e-9)
            np.testing.assert_array_equal(own["layer"], 0)
            np.testing.assert_allclose(
                helpers.flat(own["body"]), helpers.flat(slopes["body"]), rtol=1e-6, atol=1e-9
            )


@pytest.mark.parametrize("changes", [{}, {"batch_size": 36}, {"batch_size": 18, "accumulate": 2}])
def test_a_solved_layer_is_trained_below_in_every_way(changes):
    problem, omega, exact = solved_case()
    found = []
    for optimizer in (None, optax.sgd(0.0)):
        solver = Gradient(200, optimizer=optimizer, **changes)
        hg = kbo.value_and_hypergradient(problem, omega, solver=solver)
        found.append(cosine(hg.grad, exact))
    assert found[0] > max(0.98, found[1] + 0.03)


def test_dependent_features_that_have_grown_are_solved_for_in_single_precision():
    """Their Gram matrix is 1e8 times one of rank 2: rounding is far above the ridge."""
    x, t, x_out, y = (np.asarray(part, np.float32) for part in helpers.data(60, 40))
    body = (lambda key, x: jnp.ones(1), lambda w, x: 1e4 * w[0] * jnp.array([x[0], x[0], x[1]]))
    problem = iv_like(
        kbo.NeuralSpace(LastLayer(body, 3, decay=1e-9)), inner_loss=kbo.losses.Squared(),
        ridge=1e-9, inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y),
    )
    hg = kbo.value_and_hypergradient(problem, OMEGA, solver=FEW)
    assert hg.status is kbo.Status.TRUNCATED
    design = np.column_stack([x[:, :2], np.ones(60)])
    np.testing.assert_allclose(hg.inner(x), design @ np.linalg.lstsq(design, t)[0], atol=0.02)


def test_training_below_a_solved_layer_stops_at_its_tolerance():
    problem, omega, _ = solved_case()
    solver = Gradient(500, optimizer=optax.lbfgs(), tol=0.05)
    hg = kbo.value_and_hypergradient(problem, omega, solver=solver)
    assert hg.status is kbo.Status.CONVERGED
    assert 0 < int(hg.state.inner.count) < 500


def solved_case():
    problem, omega, exact = functional_case()
    space = kbo.NeuralSpace(LastLayer(MLP((64,), "tanh"), 8, decay=1e-4))
    loss = kbo.losses.SquaredTo(lambda w, t: t @ w)
    return problem.replace(inner_loss=loss, space=space), omega, exact


def test_points_that_are_left_out_do_not_reach_solved_layers():
    """Their losses overflow; nothing may come of them."""
    x, t, _, _ = helpers.data(60, 40)
    weights = np.r_[np.zeros(5), np.ones(55)]
    for space in (kbo.NeuralSpace(LastLayer(MLP((8,)), 5)), kbo.NeuralFeatures(MLP((8,)), 5)):
        found = []
        for large in (1e200, 0.0):
            problem = iv_like(
                space, inner_loss=kbo.losses.SquaredTo(lambda w, t: 10 * w["a"] * t),
                inner_data=kbo.Sample(x, np.r_[np.full(5, large), t[5:]], weights),
            )
            found.append(kbo.value_and_hypergradient(problem, OMEGA, solver=FEW))
            assert found[-1].status is kbo.Status.TRUNCATED
        assert found[0].value == found[1].value


def test_targets_that_overflow_are_divergence():
    problem = iv_like(
        kbo.NeuralFeatures(MLP((8,)), 5),
        inner_loss=kbo.losses.SquaredTo(lambda w, t: 1e308 * w["a"] * t * 1e10),
    )
    with pytest.raises(kbo.BilevelError, match="DIVERGED"):
        kbo.value_and_hypergradient(problem, OMEGA, solver=FEW)


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def readout_problem(space, n=50, m=40, q=3):
    """ω moves the features of a treatment that h predicts; the second stage is solved for."""
    rng = np.random.default_rng(0)
    z, z_out = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
    t = z.sum(1) + 0.3 * rng.normal(size=n)
    y = np.sin(z_out.sum(1))
    target = kbo.losses.SquaredTo(lambda w, t: jnp.tanh(w["slopes"] * t + jnp.arange(q)))
    problem = kbo.BilevelProblem(
        inner_loss=target, outer_loss=kbo.losses.Readout(lambda w: jnp.exp(w["log_readout"])),
        inner_data=kbo.Sample(z, t), outer_data=kbo.Sample(z_out, y, rng.uniform(0.5, 2, m)),
        space=space, ridge=0.1, n_outputs=q,
    )
    return problem, {"slopes": np.array([0.5, 1.0, -0.7]), "log_readout": -2.0}


def test_a_second_stage_in_closed_form_is_differentiated_with_the_rest():
    problem, omega = readout_problem(kbo.FeatureSpace(lambda z: jnp.append(z, 1.0)))
    assert kbo.check_hypergradient(problem, omega).ok
    hg = kbo.value_and_hypergradient(problem, omega)
    h = np.asarray(hg.inner(problem.outer_data.x))
    y, v = (np.asarray(a) for a in (problem.outer_data.target, problem.outer_data.weights))
    v = v / v.sum()

    def objective(u):
        error = y - h @ u[:3] - u[3]
        return 0.5 * np.sum(v * error**2) + 0.5 * np.exp(-2.0) * np.sum(u[:3] ** 2)

    best = scipy.optimize.minimize(objective, np.zeros(4), options={"gtol": 1e-9})
    assert hg.value == pytest.approx(best.fun, rel=1e-8)
    slopes, intercept = problem.outer_loss.fit(omega, h, y, v)
    np.testing.assert_allclose([*slopes, intercept], best.x, atol=1e-6)
    network = kbo.value_and_hypergradient(
        problem.replace(space=kbo.NeuralFeatures(MLP((8,)), 4)), omega, solver=FEW
    )
    assert network.status.completed


@pytest.mark.slow
@pytest.mark.parametrize("space", [kbo.NeuralSpace(MLP((6,))), kbo.NeuralFeatures(MLP((6,)), 4)])
def test_losses_of_constant_curvature_train_like_any_other(space):
    """Their slopes at zero are computed once; the same loss as a plain function is not."""
    problem, omega = readout_problem(space)
    solver = Gradient(steps=5, batch_size=20)
    loss = problem.inner_loss
    plain = problem.replace(inner_loss=lambda w, v, t: loss(w, v, t))
    known, unknown = (
        kbo.value_and_hypergradient(p, omega, solver=solver) for p in (problem, plain)
    )
    np.testing.assert_allclose(helpers.flat(known.grad), helpers.flat(unknown.grad), rtol=1e-6)
