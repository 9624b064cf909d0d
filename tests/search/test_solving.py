"""kbo.solve and kbo.outer_objective: the solution as a differentiable value inside JAX programs."""

import functools
import gc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

import kbo
from kbo import kernels, losses
from tests.helpers import LOSSES, SPACES, data, everything_problem, folds_problem


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def as_arrays(omega):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), omega)


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def agree(objective, omega, expected, rtol=1e-10):
    value, grad = jax.value_and_grad(objective)(as_arrays(omega))
    assert value == pytest.approx(expected.value, rel=rtol)
    np.testing.assert_allclose(flat(grad), flat(expected.grad), rtol=0,
                               atol=rtol * np.abs(flat(expected.grad)).max())


def small(n=12, loss=losses.Logistic, seed=0):
    """ω = log lengthscale and log ridge of a small problem, with arrays that may be replaced."""
    x, t, x_out, y = data(n, n - 3, seed)
    problem = kbo.BilevelProblem(
        loss(), losses.Squared(), kbo.Sample(x, np.sign(t + 0.1)), kbo.Sample(x_out, y),
        lambda w: kbo.RKHS(kernels.Gaussian(jnp.exp(w[0]))), lambda w: jnp.exp(w[1]),
    )
    return problem, jnp.array([0.2, -2.0])


@pytest.mark.parametrize("space", sorted(SPACES))
def test_gradient_equals_the_hypergradient_in_every_space(space):
    problem, omega = everything_problem(space, "logistic")
    agree(kbo.outer_objective(problem), omega, kbo.value_and_hypergradient(problem, omega))


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_gradient_equals_the_hypergradient_of_every_loss(loss):
    problem, omega = everything_problem("matern52", loss)
    agree(kbo.outer_objective(problem), omega, kbo.value_and_hypergradient(problem, omega))


@pytest.mark.parametrize("loss", ["multinomial", "squared_vector", "poisson"])
def test_replicates_and_left_out_points(loss):
    problem, omega = folds_problem(loss)
    agree(kbo.outer_objective(problem), omega, kbo.value_and_hypergradient(problem, omega))


@pytest.mark.parametrize("loss", ["squared", "logistic", "multinomial"])
def test_nystrom_and_features_with_coupled_outputs(loss):
    problem, omega = everything_problem("gaussian", loss)
    nystrom = kbo.solvers.Nystrom(data(8, 1, seed=4)[0])
    expected = kbo.value_and_hypergradient(problem, omega, solver=nystrom)
    agree(kbo.outer_objective(problem, solver=nystrom), omega, expected, 1e-8)
    problem, omega = everything_problem("features", loss)
    agree(kbo.outer_objective(problem), omega, kbo.value_and_hypergradient(problem, omega))


def score(problem, x, omega):
    """A function of h at points that the problem knows nothing of, and of ω itself."""
    h = kbo.solve(problem, omega)
    return jnp.sum(jnp.tanh(h(x)) ** 2) + omega[0] * h(x[:1])[0]


def central(function, at, step=1e-5):
    at = np.asarray(at)
    out = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        moved = np.zeros_like(at)
        moved[index] = step
        out[index] = (function(jnp.asarray(at + moved)) - function(jnp.asarray(at - moved))) / (
            2 * step
        )
    return out


def test_derivatives_in_omega_points_and_data_equal_differences():
    problem, omega = small()
    x = jnp.asarray(data(4, 1, seed=5)[0])
    objective = jax.jit(functools.partial(score, problem))

    np.testing.assert_allclose(
        jax.grad(objective, 1)(x, omega), central(functools.partial(objective, x), omega),
        atol=1e-6)
    np.testing.assert_allclose(
        jax.grad(objective)(x, omega), central(lambda x: objective(x, omega), x), atol=1e-6)

    def of_inputs(inputs):
        held = problem.replace(inner_data=kbo.Sample(inputs, problem.inner_data.target))
        return score(held, x, omega)

    inputs = problem.inner_data.x
    compiled = jax.jit(of_inputs)
    np.testing.assert_allclose(jax.grad(compiled)(inputs), central(compiled, inputs), atol=1e-6)


def test_what_a_users_function_closes_over_is_differentiated_too():
    x, t, *_ = data(12, 1)

    def value(c, omega):
        problem = kbo.BilevelProblem(
            lambda w, v, t: jnp.log(jnp.cosh(c * (v - t))), losses.Squared(),
            kbo.Sample(x, t), kbo.Sample(x, t),
            lambda w: kbo.RKHS(lambda a, b: jnp.exp(-c * jnp.sum((a - b) ** 2))),
            lambda w: jnp.exp(w) + c / 10,
        )
        return jnp.sum(kbo.solve(problem, omega)(x[:3]) ** 3)

    omega, c = jnp.array(-2.0), jnp.array(0.7)
    compiled = jax.jit(value)
    slope = jax.grad(value)(c, omega)
    assert slope == pytest.approx(float(central(lambda c: compiled(c, omega), c)), rel=1e-6)
    forward = jax.jvp(jax.jit(lambda c: value(c, omega)), (c,), (jnp.array(1.0),))[1]
    assert slope == pytest.approx(float(forward), rel=1e-10)
    # Another value of what is closed over is not mistaken for the first.
    assert value(jnp.array(0.9), omega) == pytest.approx(float(compiled(jnp.array(0.9), omega)))


def test_under_every_transformation():
    problem, omega = small()
    objective = kbo.outer_objective(problem)
    expected = kbo.value_and_hypergradient(problem, omega)
    omegas = jnp.stack([omega, omega + 0.3, omega - 0.2])
    one_by_one = [kbo.value_and_hypergradient(problem, w).grad for w in omegas]

    agree(jax.jit(objective), omega, expected)
    agree(jax.checkpoint(objective), omega, expected)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-14)
    close(jax.vmap(jax.grad(objective))(omegas), one_by_one)
    scanned = jax.jit(lambda ws: jax.lax.scan(lambda c, w: (c, jax.grad(objective)(w)), 0, ws)[1])
    close(scanned(omegas), one_by_one)
    mesh = Mesh(np.array(jax.devices()[:1]), ("k",))
    spread = jax.shard_map(
        jax.vmap(jax.grad(objective)), mesh=mesh, in_specs=PartitionSpec("k"),
        out_specs=PartitionSpec("k"), check_vma=False,
    )
    close(jax.jit(spread)(omegas), one_by_one)
    direction = jnp.array([0.3, -1.0])
    close(jax.jvp(objective, (omega,), (direction,))[1], expected.grad @ direction)


def test_second_derivatives_equal_differences_of_first_ones():
    problem, omega = small()
    objective = kbo.outer_objective(problem)
    gradient = jax.jit(jax.grad(objective))
    differences = np.stack([
        (gradient(omega + e) - gradient(omega - e)) / 2e-5 for e in 1e-5 * np.eye(2)
    ])
    for hessian in (jax.hessian, lambda f: jax.jacrev(jax.grad(f))):  # forward, reverse on top
        np.testing.assert_allclose(jax.jit(hessian(objective))(omega), differences, atol=1e-7)


def test_problems_of_one_shape_are_solved_together():
    x = data(10, 1)[0]
    omega = jnp.array([0.2, -2.0])
    template, _ = small()

    def solved(targets):
        problem = template.replace(inner_data=kbo.Sample(x, targets))
        return kbo.solve(problem, omega)(x[:2])

    targets = np.sign(np.random.default_rng(0).normal(size=(5, 10)))
    np.testing.assert_allclose(
        jax.vmap(solved)(targets), [solved(jnp.asarray(own)) for own in targets], rtol=1e-9)


def test_three_levels_and_two_solutions_in_one_loss():
    problem, omega = small()
    ridge = problem.replace(inner_loss=losses.Squared())
    points = jnp.asarray(data(6, 1, seed=3)[0])

    def value(omega):
        first = kbo.solve(problem, omega)
        second = ridge.replace(inner_data=kbo.Sample(points, first(points)))
        third = kbo.solve(second, omega[::-1] - 1.0)
        deeper = ridge.replace(inner_data=kbo.Sample(points, third(points) + first(points) ** 2))
        return jnp.sum(kbo.solve(deeper, omega)(points[:2]) * third(points[:2]))

    compiled = jax.jit(value)
    np.testing.assert_allclose(jax.grad(compiled)(omega), central(compiled, omega), atol=1e-7)


def test_float32_programs_stay_in_float32():
    with jax.enable_x64(False):
        problem, omega = everything_problem("gaussian", "huber")
        omega = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), omega)
        value, grad = jax.value_and_grad(kbo.outer_objective(problem))(omega)
    assert value.dtype == jnp.float32
    exact = kbo.value_and_hypergradient(*everything_problem("gaussian", "huber"))
    assert value == pytest.approx(exact.value, rel=1e-4)
    np.testing.assert_allclose(flat(grad), flat(exact.grad), atol=1e-3 * abs(flat(exact.grad)).max())



def test_a_solve_that_fails_raises_while_the_program_runs_or_says_so():
    problem, omega = small()
    bad = problem.replace(inner_loss=lambda w, v, t: -((v - t) ** 2))
    with pytest.raises(Exception, match="negative curvature"):
        jax.block_until_ready(jax.jit(kbo.outer_objective(bad))(omega))
    with pytest.raises(kbo.BilevelError, match=r"^NOT_CONVEX: ") as failed:
        kbo.solve(bad, omega)
    assert failed.value.status is kbo.Status.NOT_CONVEX
    strong = problem.replace(inner_loss=lambda w, v, t: -10 * (v - t) ** 2)  # the steps overflow
    assert kbo.solve(strong, omega, throw=False).status is kbo.Status.NOT_CONVEX
    h = kbo.solve(bad, omega, throw=False)
    assert not h.converged and h.status is kbo.Status.NOT_CONVEX
    short = kbo.solvers.Exact(max_newton=1)
    assert kbo.solve(problem, omega, solver=short, throw=False).status is (
        kbo.Status.INNER_NOT_CONVERGED)
    assert kbo.solve(problem, omega).status is kbo.Status.CONVERGED
    with pytest.raises(Exception, match="let the solver take more steps"):
        kbo.solve(problem, omega, solver=short)


def test_a_kernel_that_is_not_positive_is_singular():
    problem, omega = small(loss=losses.Squared)
    bad = problem.replace(space=kbo.RKHS(lambda x, z: -100 * jnp.exp(-jnp.sum((x - z) ** 2))))
    assert kbo.solve(bad, omega, throw=False).status is kbo.Status.SINGULAR


def test_the_jitter_that_a_factor_needed_is_reported():
    x = np.repeat(data(6, 1)[0], 3, axis=0)
    problem = kbo.BilevelProblem(
        losses.Squared(), losses.Squared(), kbo.Sample(x, x[:, 0]), kbo.Sample(x, x[:, 0]),
        kbo.RKHS(kernels.Linear()), 1e-18,
    )
    h = kbo.solve(problem, jnp.zeros(1), throw=False)
    assert 0 < h.report.jitter < 1e-6


def test_solution_is_that_of_value_and_hypergradient():
    for name in ("multinomial", "squared_vector", "logistic"):
        problem, omega = everything_problem("laplacian", name)
        x = data(5, 1, seed=9)[0]
        there = kbo.value_and_hypergradient(problem, omega).inner(x)
        np.testing.assert_allclose(kbo.solve(problem, omega)(x), there, rtol=1e-9, atol=1e-12)


def test_refusals_name_the_remedy():
    problem, omega = small()
    with pytest.raises(ValueError, match=r"Falkon.*cannot run inside a JAX program.*Exact"):
        kbo.solve(problem, omega, solver=kbo.solvers.Falkon(5))
    with pytest.raises(ValueError, match="array of centres"):
        jax.jit(lambda w: kbo.solve(problem, w, solver=kbo.solvers.Nystrom(5))(data()[0]))(omega)
    with pytest.raises(TypeError, match=r"kbo\.BilevelProblem"):
        kbo.solve(small, omega)
    with pytest.raises(ValueError, match="must be finite"):
        kbo.solve(problem, jnp.array([np.nan, 0.0]))
    with pytest.raises(TypeError, match=r"kbo\.outer_objective"):
        jax.grad(lambda w: kbo.value_and_hypergradient(problem, w).value)(omega)
    many = everything_problem("gaussian", "multinomial", n=2500)
    with pytest.raises(ValueError, match="7500 unknowns"):
        kbo.solve(*many)


def test_a_problem_built_again_compiles_nothing():
    omega = jnp.array([0.2, -2.0])
    grad = lambda: jax.grad(kbo.outer_objective(small()[0]))(omega)
    first = grad()
    before = kbo.programs.traces()
    np.testing.assert_array_equal(grad(), first)
    assert kbo.programs.traces() == before


@pytest.mark.parametrize("ridge", [0.0, -0.1])
def test_a_ridge_that_is_not_positive_is_no_solution(ridge):
    problem, omega = small(loss=losses.Squared)
    h = kbo.solve(problem.replace(ridge=lambda w: ridge + 0 * w[0]), omega, throw=False)
    assert h.status is kbo.Status.SINGULAR


def test_memory_is_flat_over_rebuilt_problems():
    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def once(k):
        problem, omega = small(seed=k)
        jax.grad(kbo.outer_objective(problem))(omega + 1e-3 * k)

    for k in range(100):
        once(k)
    before, traced = resident(), kbo.programs.traces()
    for k in range(400):
        once(k)
    assert kbo.programs.traces() == traced
    assert resident() - before < 6e6


SCALE = 1.0  # a global that a test changes


def scaled_space(w):
    return kbo.RKHS(kernels.Gaussian(SCALE * jnp.exp(w[0])))


def test_a_changed_global_changes_the_solution_and_its_values(monkeypatch):
    problem, omega = small()
    x = data(3, 1, seed=2)[0]
    held = problem.replace(space=scaled_space)
    kbo.solve(held, omega)(x)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    expected = kbo.value_and_hypergradient(held, omega).inner(x)
    np.testing.assert_allclose(kbo.solve(held, omega)(x), expected, rtol=1e-9)


@pytest.mark.parametrize("side", ["inner_data", "outer_data"])
def test_weights_that_are_zero_have_derivatives(side):
    problem, omega = small(loss=losses.Squared)
    fixed = getattr(problem, side)

    def of_weight(omega):
        weights = jnp.ones(fixed.size).at[3].set(omega[2])
        return kbo.Sample(fixed.x, fixed.target, weights)

    moved = problem.replace(**{side: of_weight})
    at = jnp.array([*omega, 0.0])
    objective = jax.jit(kbo.outer_objective(moved))
    step = 1e-5  # weights are not negative: a difference to one side, of second order
    values = [objective(at.at[2].set(k * step)) for k in range(3)]
    slope = float(-3 * values[0] + 4 * values[1] - values[2]) / (2 * step)
    assert jax.grad(objective)(at)[2] == pytest.approx(slope, rel=1e-4)
    assert kbo.value_and_hypergradient(moved, at).grad[2] == pytest.approx(slope, rel=1e-4)


def test_negative_weights_are_refused_inside_programs_too():
    problem, omega = small(loss=losses.Squared)
    x, target = problem.inner_data.x, problem.inner_data.target

    def value(weights):
        held = problem.replace(inner_data=kbo.Sample(x, target, weights))
        return kbo.outer_objective(held)(omega)

    with pytest.raises(Exception, match="convex"):
        jax.block_until_ready(jax.jit(value)(jnp.ones(12).at[0].set(-0.5)))


def test_a_ridge_and_a_quantile_may_be_traced():
    problem, omega = small(loss=losses.Squared)
    of_ridge = jax.jit(lambda ridge: kbo.outer_objective(problem.replace(ridge=ridge))(omega))
    slope = float(central(of_ridge, jnp.array(0.1)))
    assert jax.grad(of_ridge)(0.1) == pytest.approx(slope, rel=1e-6)

    quantile = problem.replace(
        inner_loss=losses.SmoothQuantile(lambda w: jax.nn.sigmoid(w[0]), 0.3))
    agree(kbo.outer_objective(quantile), omega, kbo.value_and_hypergradient(quantile, omega))


def test_left_out_points_that_overflow_do_no_harm():
    x, t, x_out, y = data(12, 9)
    t[5] = 1e5
    problem = kbo.BilevelProblem(
        lambda w, v, t: jnp.exp(w[0] * v * t) - v + 0.5 * v**2, losses.Squared(),
        kbo.Sample(x, t, np.arange(12) != 5), kbo.Sample(x_out, y),
        kbo.RKHS(kernels.Gaussian(1.0)), lambda w: jnp.exp(w[1]),
    )
    omega = jnp.array([0.2, -2.0])
    agree(kbo.outer_objective(problem), omega, kbo.value_and_hypergradient(problem, omega))


def test_second_derivatives_of_a_second_stage():
    problem, omega = small(loss=losses.Squared)
    objective = kbo.outer_objective(problem.replace(
        n_outputs=2, outer_loss=losses.Readout(1e-2),
        inner_data=kbo.Sample(problem.inner_data.x, np.sin(problem.inner_data.x[:, :2]))))
    gradient = jax.jit(jax.grad(objective))
    differences = np.stack([
        (gradient(omega + e) - gradient(omega - e)) / 2e-5 for e in 1e-5 * np.eye(2)
    ])
    np.testing.assert_allclose(jax.jit(jax.hessian(objective))(omega), differences, atol=1e-7)


def test_right_solutions_in_single_precision_are_not_called_wrong():
    with jax.enable_x64(False):
        x, t, x_out, y = (np.float32(part) for part in data(100, 50))
        for lengthscale, ridge in ((1.5, 1e-4), (2.7, 3e-4)):
            problem = kbo.BilevelProblem(
                losses.Squared(), losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
                kbo.RKHS(kernels.Gaussian(lengthscale)), ridge,
            )
            assert kbo.solve(problem, jnp.zeros(1), throw=False).converged


def test_a_subspace_is_solved_by_default():
    problem, omega = small()
    held = problem.replace(
        space=kbo.Subspace(kernels.Gaussian(1.0), jnp.asarray(data(5, 1)[0])))
    agree(kbo.outer_objective(held), omega, kbo.value_and_hypergradient(held, omega), 1e-8)
