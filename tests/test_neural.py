"""Spaces of networks against closed forms, and what training promises."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import kbo
from kbo.hypergradients import Stochastic
from kbo.networks import MLP, LastLayer
from kbo.optimizers import Optax
from kbo.solvers import Gradient
from kbo.spaces import Sobolev

from . import helpers

CONVERGED = Gradient(steps=400, tol=1e-10, optimizer=optax.lbfgs())
AFFINE = MLP(())
FEW = Gradient(steps=5)
pytestmark = pytest.mark.usefixtures("x64")
OMEGA = {"a": 0.7, "log_ridge": -2.0}


def iv_like(space, n=60, m=40, seed=0, **changes):
    """ω scales the inner targets and sets the ridge."""
    x, t, x_out, y = helpers.data(n, m, seed)
    problem = kbo.BilevelProblem(
        inner_loss=lambda w, v, t: 0.5 * (v - w["a"] * t) ** 2, outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y), space=space,
        ridge=lambda w: jnp.exp(w["log_ridge"]),
    )
    return problem.replace(**changes)


def affine(x):
    return np.column_stack([x, np.ones(len(x))])


def central(value, omega, step=1e-5):
    """Central differences of a function of a dict of numbers."""
    moved = lambda k, s: value({**omega, k: omega[k] + s})
    return {k: (moved(k, step) - moved(k, -step)) / (2 * step) for k in omega}


def quick(table, names):
    """The entries of a table, all but a few of them slow."""
    slow = pytest.mark.slow
    return [name if name in names else pytest.param(name, marks=slow) for name in table]


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
    from kbo.solvers._training.objectives import adjoint_objective, inner_objective
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
            (SolvedInner(instance), decayed(inner_objective(instance))),
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


def functional_case(n=40):
    """ω enters the targets through five features; both samples at the same points."""
    x = np.sort(np.random.default_rng(0).uniform(-2, 2, n))[:, None]
    y = np.sin(2 * x[:, 0])
    phi = np.cos(np.arange(1, 6) * x)
    problem = kbo.BilevelProblem(
        inner_loss=lambda w, v, t: 0.5 * (v - t @ w) ** 2, outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, phi), outer_data=kbo.Sample(x, y), space=None, ridge=0.1,
    )
    omega = np.array([0.5, -0.3, 0.2, 0.4, -0.1])
    exact = phi.T @ ((phi @ omega) / 1.1 - y) / (1.1 * n)  # every value is free: h = φᵀω/(1+ridge)
    return problem, omega, exact


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


def test_training_goes_on_from_the_state():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((32,))))
    first = kbo.value_and_hypergradient(problem, omega, solver=FEW)
    second = kbo.value_and_hypergradient(problem, omega, solver=FEW, state=first.state)
    cold = kbo.value_and_hypergradient(problem, omega, solver=Gradient(steps=10))
    x = problem.inner_data.x
    np.testing.assert_allclose(second.inner(x), cold.inner(x), rtol=1e-9)
    assert int(second.state.inner.count) == 10


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_resumed_run_is_the_uninterrupted_one(stochastic, tmp_path):
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((8,))))
    solver = Gradient(steps=3, adjoint_steps=4, batch_size=16, accumulate=2)
    method = Stochastic(30, 20) if stochastic else None
    run = lambda **more: kbo.minimize(
        problem, omega, solver=solver, method=method, key=jax.random.key(5),
        optimizer=Optax(optax.adam(optax.cosine_decay_schedule(0.1, 8)), max_steps=6), **more,
    )
    whole = run()
    path = tmp_path / "run.npz"
    run(checkpoint=path, callback=lambda record: record.step == 2)
    resumed = run(checkpoint=path)
    np.testing.assert_array_equal(whole.omega, resumed.omega)
    assert whole.value == resumed.value
    x = problem.inner_data.x
    np.testing.assert_array_equal(whole.function(x), resumed.function(x))
    assert [r.value for r in whole.history] == [r.value for r in resumed.history]


def test_the_callback_sees_the_function_and_the_history_does_not():
    problem, omega, _ = functional_case()
    seen = []
    x = problem.inner_data.x
    found = kbo.minimize(
        problem.replace(space=kbo.NeuralSpace(MLP((8,)))), omega, solver=FEW,
        optimizer=Optax(optax.sgd(0.1), max_steps=2),
        callback=lambda record: seen.append(np.mean((record.function(x) - np.sin(2 * x[:, 0])) ** 2)),
    )
    np.testing.assert_allclose(2 * np.array([r.value for r in found.history]), seen, rtol=1e-9)
    assert all(record.function is None for record in found.history)


def test_the_last_iterate_is_returned_where_values_do_not_compare():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.RKHS(kbo.kernels.Gaussian(0.5)))
    last = []
    found = kbo.minimize(
        problem, omega, method=Stochastic(30, 20),
        optimizer=Optax(optax.sgd(0.3), max_steps=8), callback=lambda r: last.append(r.omega) and 0,
    )
    np.testing.assert_array_equal(found.omega, last[-1])
    default = kbo.minimize(problem, omega, method=Stochastic(30, 20))
    assert default.n_steps == 100  # Adam, not a line search


def test_stochastic_gradients_average_to_the_gradient_of_many_parts():
    """With L linear in what is drawn (outer rows alone), the mean over draws is ∇L."""
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.RKHS(kbo.kernels.Gaussian(0.5)))
    exact = kbo.value_and_hypergradient(problem, omega)
    state, grads = None, []
    for _ in range(300):
        hg = kbo.value_and_hypergradient(
            problem, omega, method=Stochastic(None, 10), state=state
        )
        state = hg.state
        grads.append(hg.grad)
    error = np.std(grads, 0) / np.sqrt(300)
    assert (np.abs(np.mean(grads, 0) - exact.grad) < 5 * error).all()


def test_stochastic_draws_rows_of_data_that_depend_on_omega():
    problem, omega = helpers.everything_problem()
    part = kbo.value_and_hypergradient(problem, omega, method=Stochastic(12, 9))
    whole = kbo.value_and_hypergradient(problem, omega, method=Stochastic(500, 500))
    exact = kbo.value_and_hypergradient(problem, omega)
    assert whole.value == pytest.approx(exact.value, rel=1e-12)
    assert part.value != pytest.approx(exact.value, rel=1e-3)
    with pytest.raises(ValueError, match="inner_size"):
        Stochastic(0)


@pytest.mark.parametrize("which", ["inner", "adjoint"])
def test_objectives_of_batches_are_unbiased(which):
    from kbo.solvers._training.objectives import adjoint_objective, inner_objective

    problem, omega = helpers.folds_problem("logistic")
    instance = problem.replace(space=kbo.NeuralSpace(MLP((4,)))).at(omega)
    inner, adjoint = instance.space.initial(jax.random.key(0), instance.inner.x[0], 1, 3)
    if which == "inner":
        objective, params = inner_objective(instance), inner.params
    else:
        values = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 30, 1)))
        objective, params = adjoint_objective(instance, *values), adjoint.params
    rows = jnp.arange(30)[:, None]
    each = jax.vmap(lambda r: objective(params, (r, r)))(rows)
    assert float(jnp.mean(each)) == pytest.approx(float(objective(params, None)), rel=1e-10)


@pytest.mark.slow
def test_accumulated_batches_are_one_larger_batch():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((8,))))
    x = problem.inner_data.x
    values = [
        kbo.value_and_hypergradient(
            problem, omega, solver=Gradient(4, batch_size=b, accumulate=k, optimizer=optax.sgd(0.1))
        ).inner(x)
        for b, k in ((24, 1), (8, 3))
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


def test_divergence_is_reported_with_a_remedy():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((32,))))
    wild = Gradient(steps=50, optimizer=optax.sgd(1e4))
    with pytest.raises(kbo.BilevelError, match="learning rate"):
        kbo.value_and_hypergradient(problem, omega, solver=wild)
    with pytest.raises(kbo.BilevelError, match="DIVERGED"):
        kbo.minimize(problem, omega, solver=wild)
    only_adjoint = Gradient(steps=50, adjoint_optimizer=optax.sgd(1e4))
    found = kbo.value_and_hypergradient(problem, omega, solver=only_adjoint, throw=False)
    assert found.status is kbo.Status.DIVERGED


def test_loops_stop_early_at_the_tolerance_and_say_when_they_miss_it():
    problem = iv_like(kbo.NeuralSpace(AFFINE))
    early = kbo.value_and_hypergradient(problem, OMEGA, solver=Gradient(steps=5000, tol=1e-3))
    assert int(early.state.inner.count) < 5000
    again = kbo.value_and_hypergradient(
        problem, OMEGA, solver=Gradient(steps=5000, tol=1e-3), state=early.state
    )
    assert int(again.state.inner.count) <= int(early.state.inner.count) + 1
    found = kbo.value_and_hypergradient(
        problem, OMEGA, solver=Gradient(steps=3, tol=1e-9), throw=False
    )
    assert found.status is kbo.Status.INNER_NOT_CONVERGED


def test_keys_decide_what_is_drawn():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.NeuralSpace(MLP((8,))))
    grads = [
        kbo.value_and_hypergradient(problem, omega, solver=FEW, key=key).grad
        for key in (jax.random.key(1), jax.random.key(1), jax.random.key(2))
    ]
    np.testing.assert_array_equal(grads[0], grads[1])
    assert not np.allclose(grads[0], grads[2])
    kernel = problem.replace(space=kbo.RKHS(kbo.kernels.Gaussian(0.5)))
    with_key = kbo.value_and_hypergradient(kernel, omega, key=jax.random.key(1))
    assert with_key.value == kbo.value_and_hypergradient(kernel, omega).value


@pytest.mark.slow
def test_layers_are_normalised():
    x = jnp.asarray(np.random.default_rng(0).normal(size=5))
    network = MLP((40, 30), jnp.tanh, layer_norm=True)
    params = network.init(jax.random.key(0), x, 2)
    values = np.asarray(x)
    for layer in params[:-1]:
        values = np.asarray(layer["weight"]) @ values
        values = np.tanh((values - values.mean()) / np.sqrt(values.var() + 1e-5))
    np.testing.assert_allclose(network.apply(params, x), params[-1]["weight"] @ values, rtol=1e-9)
    spectral = MLP((40, 30), jnp.tanh, spectral_norm=True)
    jacobian = jax.jacobian(lambda z: spectral.apply(spectral.init(jax.random.key(0), x, 2), z))(x)
    assert np.linalg.norm(jacobian, 2) < 1.01
    plain = MLP((), spectral_norm=True)
    weights = plain.init(jax.random.key(1), x, 3)
    exact = weights[0]["weight"] / np.linalg.norm(weights[0]["weight"], 2)
    np.testing.assert_allclose(plain.apply(weights, x), exact @ x, rtol=0.02)


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
    with pytest.raises(ValueError, match="not trained by gradient"):
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
