"""Methods in which θ moves along with ω; singular and non-smooth inner problems."""

import dataclasses
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Lasso

import kbo
from kbo.datasets import make_bilevel_quadratics, make_mehra_hamm
from kbo.datasets.bilevel import one
from kbo.hypergradients import (
    BOME,
    BSA,
    CG,
    F2SA,
    FSLA,
    MRBO,
    SABA,
    SOBA,
    SUSTAIN,
    TTSA,
    VRBO,
    AmIGO,
    Direct,
    Mean,
    MinMin,
    Parametric,
    Penalty,
    StocBiO,
    Stochastic,
    Unrolled,
)
from kbo.hypergradients.single_loop.neumann import OneTerm, Series
from kbo.hypergradients.single_loop.sampler import Batches, hypergradient, slopes
from kbo.optimizers import L1, NonNegative, Optax, proximal_gradient
from kbo.solvers.coefficients import rows, start

from .test_methods import OMEGA, check_resumes
from .test_neural import iv_like

pytestmark = pytest.mark.usefixtures("x64")
SLOW = pytest.mark.slow
RATE = 0.3
FEATURES = kbo.FeatureSpace(jnp.tanh)


@pytest.fixture(scope="module")
def quadratics():
    with jax.enable_x64(True):
        return make_bilevel_quadratics(256, 20, 10, random_state=0)


def central(value, omega, step=1e-5):
    return np.array([
        (value(omega + step * e) - value(omega - step * e)) / (2 * step) for e in np.eye(len(omega))
    ])


def iterate(problem, omega, method, steps):
    """The hypergradients of ``steps`` steps at one ω."""
    state, found = None, []
    for _ in range(steps):
        hg = kbo.value_and_hypergradient(problem, omega, method=method, state=state)
        state = hg.state
        found.append(hg)
    return found


# The closed form of the quadratics


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


# Limits at one ω, on whole samples


LIMITS = {
    "soba": (SOBA(RATE), 1e-3), "saba": (SABA(RATE), 1e-3), "amigo": (AmIGO(RATE), 1e-8),
    "fsla": (FSLA(RATE), 1e-3), "stocbio": (StocBiO(RATE, terms=500), 1e-5),
    "mrbo": (MRBO(RATE, terms=300), 1e-3), "vrbo": (VRBO(RATE, steps=2, terms=300), 1e-3),
    "f2sa": (F2SA(RATE, multiplier=1e5), 1e-4),
    "penalty": (Penalty(None, penalty=1e5, steps=200), 1e-4),
}


@pytest.mark.parametrize("name", LIMITS)
def test_on_whole_samples_they_come_to_the_exact_hypergradient(quadratics, name):
    method, accuracy = LIMITS[name]
    omega = quadratics.omega0
    exact = central(quadratics.value, omega)
    found = iterate(quadratics.problem, omega, method, 250 if name != "vrbo" else 120)[-1]
    assert np.linalg.norm(found.grad - exact) <= accuracy * np.linalg.norm(exact)
    if name not in ("f2sa", "penalty"):
        assert found.value == pytest.approx(quadratics.value(omega), abs=1e-3)
        np.testing.assert_allclose(found.inner(np.zeros((1, 1)))[0], quadratics.inner(omega), atol=.05)
    assert found.status is kbo.Status.TRUNCATED and found.cost.gradients >= 1


def test_exact_methods_agree(quadratics):
    exact = kbo.value_and_hypergradient(
        quadratics.problem, quadratics.omega0, method=Parametric(Direct()),
        solver=kbo.solvers.QuasiNewton(tol=1e-12),
    )
    np.testing.assert_allclose(exact.grad, central(quadratics.value, quadratics.omega0), rtol=1e-7)
    found = iterate(quadratics.problem, quadratics.omega0, AmIGO(RATE, steps=40, adjoint_steps=40), 40)
    np.testing.assert_allclose(found[-1].grad, exact.grad, rtol=1e-9)


def test_truncated_series_err_as_predicted(quadratics):
    """(I − sH)^Q, the residual of a Neumann series of Q terms."""
    omega = quadratics.omega0
    exact = central(quadratics.value, omega)
    H = np.mean([np.outer(a, a) for a in np.asarray(quadratics.problem.inner_data.target["a"])], 0)
    terms, errors = np.array([200, 300, 400]), []
    for Q in terms:
        method = StocBiO(RATE, steps=2000, terms=int(Q))
        found = iterate(quadratics.problem, omega, method, 1)[0]
        errors.append(np.linalg.norm(found.grad - exact))
    slope = np.polyfit(terms, np.log(errors), 1)[0]
    assert slope == pytest.approx(np.log(1 - RATE * np.linalg.eigvalsh(H)[0]), rel=0.1)


def test_f2sa_errs_like_one_over_its_multiplier(quadratics):
    exact = central(quadratics.value, quadratics.omega0)
    multipliers, errors = [10.0, 100.0, 1000.0], []
    for multiplier in multipliers:
        method = F2SA(RATE, steps=600, multiplier=multiplier)
        found = iterate(quadratics.problem, quadratics.omega0, method, 1)[0]
        errors.append(np.linalg.norm(found.grad - exact))
    slope = np.polyfit(np.log(multipliers), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


# What is drawn


def batches(problem, key=0, sizes=(7, 5)):
    sample = problem.inner_data.size, problem.outer_data.size
    unravel = lambda flat: {"a": flat[0], "log_ridge": flat[1]}
    undo = lambda theta: theta.reshape(1, -1, 1)
    return Batches(problem, unravel, undo, sizes, sample, jax.random.key(key))


def test_batches_are_unbiased_and_repeatable():
    problem = iv_like(FEATURES)
    weights = np.random.default_rng(0).uniform(0.1, 3, size=(2, 60))
    problem = problem.replace(
        inner_data=kbo.Sample(problem.inner_data.x, problem.inner_data.target, weights[0]),
        outer_data=kbo.Sample(problem.outer_data.x, problem.outer_data.target, weights[1][:40]),
    )
    omega, theta = jnp.array([0.7, -2.0]), jnp.array([[0.3, -0.5, 1.2]])
    drawn, whole = batches(problem), batches(problem).whole()
    for part in ("inner", "outer"):
        of = lambda b, tag, part=part: getattr(b, part)(tag)(omega, theta)
        values = jax.jit(jax.vmap(lambda tag: of(drawn, tag)))(jnp.arange(4000))
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - of(whole, 0)) < 4 * error and values.std() > 0.01
        assert of(drawn, 3) == of(drawn, 3) != of(drawn, 4)
        assert of(drawn.fold(1), 3) != of(drawn, 3)
    exact = kbo.value_and_hypergradient(problem, {"a": 0.7, "log_ridge": -2.0})
    at = np.asarray(exact.inner.coefficients).reshape(1, -1)
    assert np.abs(jax.grad(whole.inner(0), 1)(omega, at)).max() < 1e-8
    assert whole.outer(0)(omega, at) == pytest.approx(exact.value, rel=1e-10)


def test_batches_of_networks_and_of_zero_weights_are_unbiased():
    space = kbo.NeuralSpace(kbo.networks.MLP((4,)))
    problem = iv_like(space)
    keep = lambda n: np.repeat([[1.0, 0.0, 2.0], [0.5, 1.0, 0.0]], n // 3 + 1, axis=1)[:, :n]
    problem = problem.replace(
        inner_data=kbo.Sample(problem.inner_data.x, problem.inner_data.target, keep(60)),
        outer_data=kbo.Sample(problem.outer_data.x, problem.outer_data.target, keep(40)),
    )
    at = problem.at({"a": 0.7, "log_ridge": 1.0})
    theta, undo = rows(start(at, jax.random.key(0)))
    drawn = eqx.tree_at(lambda b: b.undo, batches(problem, sizes=(2, 2)), undo)
    omega, whole = jnp.array([0.7, 1.0]), drawn.whole()
    for part in ("inner", "outer"):
        of = lambda b, tag, part=part: getattr(b, part)(tag)(omega, theta)
        values = jax.jit(jax.vmap(lambda tag: of(drawn, tag)))(jnp.arange(4000))
        assert np.isfinite(values).all()
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - of(whole, 0)) < 4 * error


def test_one_random_term_is_the_series_on_average():
    drawn = batches(iv_like(FEATURES), sizes=(None, None))
    omega, theta = jnp.array([0.7, -2.0]), jnp.array([[0.3, -0.5, 1.2]])
    b = jnp.array([[1.0, -0.4, 0.2]])
    series = Series(0.5, 6)(drawn, omega, theta, b)
    random = jax.vmap(lambda k: OneTerm(0.5, 6)(drawn.fold(k), omega, theta, b))(jnp.arange(2000))
    error = random.std(0) / np.sqrt(len(random))
    assert (np.abs(random.mean(0) - series) < 4 * error + 1e-12).all()
    found = hypergradient(drawn, omega, theta, Series(0.5, 400))
    H = jax.hessian(lambda t: drawn.inner(0)(omega, t[None]))(theta[0])
    direct, slope = jax.grad(drawn.outer(0), (0, 1))(omega, theta)
    cross = slopes(drawn.inner(0), omega, theta, jnp.linalg.solve(H, slope[0])[None]).cross
    np.testing.assert_allclose(found, direct - cross, rtol=1e-6)


@SLOW
def test_variance_reduction_converges_where_plain_steps_stall(quadratics):
    q, omega = quadratics, quadratics.omega0
    exact = central(q.value, omega)
    error = lambda method: np.linalg.norm(
        np.mean([h.grad for h in iterate(q.problem, omega, method, 2000)[-20:]], 0) - exact
    )
    plain, reduced = error(SOBA(0.03, 16, 16)), error(SABA(0.03, 16, 16))
    assert reduced < 0.05 * plain and reduced < 1e-2 * np.linalg.norm(exact)


# Searches


@pytest.fixture(scope="module")
def coupled():
    """Quadratics whose solution depends on the adjoint."""
    with jax.enable_x64(True):
        return make_bilevel_quadratics(256, 20, 10, cross=0.4, random_state=2)


OUTER = optax.sgd(optax.exponential_decay(0.1, 200, 0.5))
NEAR = 0.15


class Forgetful(SOBA):
    """The adjoint forgotten: wrong on purpose."""

    def step(self, batches, count, omega, theta, memory):
        _, theta, v = super().step(batches, count, omega, theta, memory)
        return jax.grad(batches.outer(0))(omega, theta), theta, v


def gap(made, omega):
    """Suboptimality, relative to that of the start."""
    return (made.value(omega) - made.lowest) / (made.value(made.omega0) - made.lowest)


def test_without_the_adjoint_searches_end_elsewhere(coupled):
    found = kbo.minimize(
        coupled.problem, coupled.omega0, method=Forgetful(0.1),
        optimizer=Optax(OUTER, max_steps=1000),
    )
    assert gap(coupled, found.omega) > 2 * NEAR


SEARCHES = {
    "soba": SOBA(0.1, 32, 32), "saba": SABA(0.1, 32, 32), "amigo": AmIGO(0.05, 32, 32),
    "fsla": FSLA(0.1, 32, 32), "bsa": BSA(0.1, 32, 32, terms=20), "ttsa": TTSA(0.1, 32, 32, terms=20),
    "stocbio": StocBiO(0.05, 32, 32, terms=40), "mrbo": MRBO(0.1, 32, 32, terms=40),
    "sustain": SUSTAIN(0.1, 32, 32, terms=20), "vrbo": VRBO(0.05, 32, 32, steps=4, terms=30),
    "f2sa": F2SA(0.05, 32, 32, multiplier=optax.linear_schedule(1.0, 50.0, 500)),
    "bome": BOME(0.1, steps=40), "penalty": Penalty(0.05, 32, 32, penalty=30.0),
}
QUICK = ("saba", "stocbio", "f2sa")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in SEARCHES]
)
def test_searches_come_near_the_minimum(coupled, name):
    outer = optax.sgd(0.1) if name == "bome" else OUTER
    found = kbo.minimize(
        coupled.problem, coupled.omega0, method=SEARCHES[name],
        optimizer=Optax(outer, max_steps=1000),
    )
    assert gap(coupled, found.omega) < NEAR
    assert found.status is kbo.Status.STEPS_EXHAUSTED and found.n_steps == 1000


@pytest.mark.parametrize("method", [
    SABA(0.1, 20, 20), Penalty(0.01, 20, 20), VRBO(0.1, 20, 20, steps=2, terms=3, period=2),
])
def test_a_resumed_search_is_the_uninterrupted_one(method, tmp_path):
    check_resumes(iv_like(FEATURES), method, Optax(optax.sgd(0.1), max_steps=5), tmp_path)


@pytest.mark.parametrize(("space", "solver"), [
    (kbo.RKHS(kbo.kernels.Gaussian()), None),
    (kbo.RKHS(kbo.kernels.Gaussian()), kbo.solvers.Nystrom(6)),
    (kbo.NeuralSpace(kbo.networks.MLP((8,))), None),
])
def test_every_space(space, solver):
    problem = iv_like(space)
    sizes = (None, 10) if isinstance(space, kbo.RKHS) and solver is None else (20, 10)
    found = kbo.minimize(
        problem, OMEGA, method=SOBA(0.05, *sizes, adjoint_rate=0.02), solver=solver,
        optimizer=Optax(optax.adam(0.02), max_steps=30),
    )
    assert np.isfinite(found.function(problem.outer_data.x)).all()
    values = [record.value for record in found.history]
    assert np.mean(values[-5:]) < np.mean(values[:5])


@pytest.mark.parametrize(("method", "option"), [
    (SOBA(0.1), {"adjoint_rate": 0.3}), (AmIGO(0.1), {"steps": 2}),
    (AmIGO(0.1), {"adjoint_steps": 2}), (FSLA(0.1, 32, 32), {"momentum": 0.9}),
    (StocBiO(0.1), {"series_rate": 0.3}), (MRBO(0.1, 32, 32), {"momentum": 0.9}), (BOME(0.1), {"barrier": 0.1}),
    (VRBO(0.1, 32, 32), {"period": 1}), (SOBA(0.1, 32, 32), {"seed": 1}),
    (SOBA(0.1), {"rate": optax.constant_schedule(0.05)}), (Penalty(0.1), {"growth": 1.5}),
    (Penalty(0.1), {"tolerance": 1e-3}), (Penalty(0.1), {"lagrangian": False}),
    (Penalty(0.1), {"convexity": 10.0}), (Penalty(0.1), {"rate": None}),
])
def test_options_matter(quadratics, method, option):
    changed = dataclasses.replace(method, **option)
    final = lambda method: iterate(
        quadratics.problem, quadratics.solution, method, 12
    )[-1].grad
    assert not np.allclose(final(method), final(changed), rtol=1e-6)


# Singular inner problems


HAMM = {
    "penalty": Penalty(None, steps=50),
    "aid": AmIGO(0.02, steps=20, adjoint_steps=20),
    "itd": Unrolled(20, optax.sgd(0.02)),
}


def hamm_error(example, name, seed, steps=1000):
    made = make_mehra_hamm(example, random_state=seed)
    found = kbo.minimize(
        made.problem, made.omega0, method=HAMM[name], throw=False,
        optimizer=Optax(optax.adam(optax.exponential_decay(0.1, 200, 0.5)), max_steps=steps),
    )
    return made.error(found.omega, found.function)


@pytest.mark.parametrize(("example", "name", "solved"), [
    (3, "penalty", True), (3, "aid", False),
    *(pytest.param(*case, marks=SLOW) for case in (
        (1, "penalty", True), (1, "aid", True), (2, "penalty", True), (4, "penalty", True), (4, "aid", False), (3, "itd", False),
        (4, "itd", False), (2, "aid", True), (2, "itd", True),
    )),
])
def test_only_the_penalty_solves_singular_problems(example, name, solved):
    made = make_mehra_hamm(example, random_state=0)
    start = made.error(made.omega0, lambda x: np.zeros((1, 10)))
    error = hamm_error(example, name, 0)
    assert error < 1e-2 if solved else error > 0.3 * start


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


# Errors


class AllAtOnce(kbo.losses.Joint):
    """½ of the mean square error."""

    def __call__(self, omega, predictions, targets, weights):
        return 0.5 * jnp.average((predictions - targets) ** 2, weights=weights)


def test_bad_input_is_named(quadratics):
    for bad, match in [
        (lambda: SOBA(rate=0.0), "rate"), (lambda: SOBA(inner_size=0), "inner_size"),
        (lambda: AmIGO(adjoint_steps=0), "adjoint_steps"), (lambda: StocBiO(terms=0), "terms"),
        (lambda: VRBO(period=0), "period"),
        (lambda: Penalty(growth=1.0), "growth"), (lambda: Penalty(penalty=-1.0), "penalty"),
        (lambda: Penalty(convexity=-1.0), "convexity"), (lambda: Penalty(lambda k: 0.1), "number"),
        (lambda: Penalty(None, inner_size=4), "Adam a rate"),
        (lambda: make_mehra_hamm(5), "example"), (lambda: make_mehra_hamm(1, 3), "even"),
    ]:
        with pytest.raises(ValueError, match=match):
            bad()
    evaluate = lambda problem, method: kbo.value_and_hypergradient(problem, OMEGA, method=method)
    with pytest.raises(ValueError, match="Nystrom"):
        evaluate(iv_like(kbo.RKHS(kbo.kernels.Gaussian())), SOBA(inner_size=4))
    with pytest.raises(ValueError, match="must divide the 60 rows"):
        evaluate(iv_like(FEATURES), SABA(inner_size=7))
    joint = iv_like(FEATURES, outer_loss=AllAtOnce())
    with pytest.raises(ValueError, match="outer_size=None"):
        evaluate(joint, SOBA(outer_size=7))
    assert evaluate(joint, SOBA()).status.completed
    for bad, match in [
        (lambda: FSLA(momentum=0.0), "momentum"), (lambda: MRBO(momentum=3.0), "momentum"),
        (lambda: F2SA(multiplier=-1.0), "multiplier"), (lambda: BOME(barrier=-1.0), "barrier"),
        (lambda: Stochastic(30, None, SOBA()), "batches of its own"),
    ]:
        with pytest.raises(ValueError, match=match):
            bad()


def test_a_mean_of_them_makes_all_its_steps():
    problem = iv_like(FEATURES)
    found = kbo.minimize(
        problem, OMEGA, method=Mean((problem, problem), SOBA(0.1, 20, 20)),
        optimizer=Optax(optax.sgd(0.1), max_steps=4),
    )
    assert found.n_steps == 4


def test_schedules_keep_the_dtype_of_the_data():
    problem = iv_like(FEATURES)
    single = lambda sample: kbo.Sample(*[
        np.asarray(part, np.float32) for part in (sample.x, sample.target)
    ])
    problem = problem.replace(
        inner_data=single(problem.inner_data), outer_data=single(problem.outer_data)
    )
    method = AmIGO(lambda count: np.sqrt(0.1) / (1 + count), steps=2, adjoint_steps=2)
    found = kbo.value_and_hypergradient(problem, OMEGA, method=method)
    assert found.state.theta.dtype == np.float32 and found.status.completed


def test_divergence_is_a_status(quadratics):
    state = None
    for _ in range(600):
        hg = kbo.value_and_hypergradient(
            quadratics.problem, quadratics.omega0, method=SOBA(5.0), state=state, throw=False
        )
        state = hg.state
        if not hg.status.completed:
            break
    assert hg.status is kbo.Status.DIVERGED
    with pytest.raises(kbo.BilevelError, match="rate"):
        kbo.value_and_hypergradient(
            quadratics.problem, quadratics.omega0, method=SOBA(5.0), state=state
        )


def test_singular_systems_are_reported():
    made = make_mehra_hamm(3, random_state=0)
    evaluate = lambda linear, omega=made.omega0: kbo.value_and_hypergradient(
        made.problem, omega, method=Parametric(linear), solver=kbo.solvers.QuasiNewton(), throw=False
    )
    for linear in (Direct(), CG(50)):
        with pytest.warns(UserWarning, match="which minimiser was found"):
            evaluate(linear)
    x = np.random.default_rng(0).normal(size=(60, 2))
    sample = kbo.Sample(np.asarray(x, np.float32), np.asarray(x[:, 0], np.float32))
    kernel = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), sample, sample,
        kbo.RKHS(kbo.kernels.Gaussian()), ridge=lambda w: jnp.exp(w),
    )
    regular = made.problem.replace(ridge=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for linear in (Direct(), CG(50)):
            kbo.value_and_hypergradient(
                regular, made.omega0, method=Parametric(linear), solver=kbo.solvers.QuasiNewton()
            )
            # Badly conditioned, in float32: convex all the same, if not solved.
            found = kbo.value_and_hypergradient(
                kernel, np.log(1e-3), method=Parametric(linear), throw=False
            )
            assert found.status.usable


def test_inner_problems_that_are_not_convex_are_reported():
    """At the saddle of a double well, and not in its wells."""
    sample = kbo.Sample(np.zeros((1, 1)), np.zeros(1))
    problem = kbo.BilevelProblem(
        lambda w, v, t: (v**2 - 1) ** 2 + w * v, lambda w, v, t: 0.5 * (v - 2) ** 2, sample, sample,
        kbo.FeatureSpace(lambda x: jnp.ones(1)), ridge=1e-3,
    )
    solver = kbo.solvers.QuasiNewton()
    evaluate = lambda w: kbo.value_and_hypergradient(
        problem, w, method=Parametric(Direct()), solver=solver, throw=False
    )
    with pytest.warns(UserWarning, match="not convex"):
        evaluate(0.0)  # the descent starts, and stays, at v = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(0.1)
    assert found.inner(np.zeros((1, 1)))[0] == pytest.approx(-1.0, abs=0.05)


# Proximal steps


def test_proximal_gradient_is_ista_and_differentiates_on_the_support():
    random = np.random.default_rng(0)
    D, x = random.normal(size=(8, 5)), random.normal(size=8)
    D /= np.linalg.norm(D, axis=0)
    strength, rate = 0.3, 1 / np.linalg.norm(D, 2) ** 2
    lasso = Lasso(alpha=strength / 8, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(D, x)
    sample = kbo.Sample(np.zeros((1, 1)), x[None])
    square = lambda D, z, x: 0.5 * jnp.sum((x - D @ z) ** 2)
    problem = kbo.BilevelProblem(
        square, square, sample, sample, kbo.FeatureSpace(one), ridge=0.0, n_outputs=5
    )
    optimizer = proximal_gradient(rate, L1(strength))
    of = lambda which, D=D: kbo.value_and_hypergradient(
        problem, D, method=MinMin(which, 600, optimizer, regularizer=L1(strength))
    )
    found = of("analytic")
    z = np.asarray(found.inner(np.zeros((1, 1)))).ravel()
    np.testing.assert_allclose(z, lasso.coef_, atol=1e-10)
    assert 0 < (z == 0).sum() < 5
    np.testing.assert_allclose(found.grad, -np.outer(x - D @ z, z), atol=1e-9)
    np.testing.assert_allclose(of("automatic").grad, found.grad, atol=1e-9)
    assert found.value == pytest.approx(0.5 * np.sum((x - D @ z) ** 2) + strength * np.abs(z).sum())
    with pytest.raises(ValueError, match="smooth"):
        MinMin("implicit", regularizer=L1(0.1))
    with pytest.raises(ValueError, match="proximal_gradient"):
        MinMin("analytic", regularizer=L1(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


def test_equilibria_are_proximal_fixed_points():
    """z = relu(Wz + b), W symmetric and below 1, minimises ½zᵀ(I − W)z − b·z over z ≥ 0."""
    random = np.random.default_rng(0)
    A, b = 0.5 * random.normal(size=(2, 4)), random.normal(size=4)
    W = 0.5 * np.eye(4) - A.T @ A
    z = np.zeros(4)
    for _ in range(3000):
        z = 0.8 * z + 0.2 * np.maximum(W @ z + b, 0)
    sample = kbo.Sample(np.zeros((1, 1)), np.zeros((1, 1)))
    problem = kbo.BilevelProblem(
        lambda w, v, t: 0.5 * (0.5 * v @ v + jnp.sum((A @ v) ** 2)) - w @ v,
        lambda w, v, t: 0.5 * jnp.sum((v - 1) ** 2), sample, sample, kbo.FeatureSpace(one),
        ridge=0.0, n_outputs=4,
    )
    of = lambda w: kbo.value_and_hypergradient(
        problem, w, method=Unrolled(800, proximal_gradient(0.2, NonNegative()), warm=False)
    )
    found = of(b)
    np.testing.assert_allclose(np.asarray(found.inner(np.zeros((1, 1)))).ravel(), z, atol=1e-10)
    assert 0 < (z == 0).sum() < 4
    np.testing.assert_allclose(found.grad, central(lambda w: of(w).value, b), atol=1e-7)
    assert NonNegative()(jnp.ones(2)) == 0 and NonNegative()(-jnp.ones(2)) == np.inf


def test_proximal_steps_of_omega_make_it_sparse():
    target = np.array([2.0, -0.05, 0.0, -1.0])
    sample = kbo.Sample(np.zeros((1, 1)), target[None])
    problem = kbo.BilevelProblem(
        lambda w, v, t: 0.5 * jnp.sum((v - w) ** 2), lambda w, v, t: 0.5 * jnp.sum((v - t) ** 2),
        sample, sample, kbo.FeatureSpace(one), ridge=1e-6, n_outputs=4,
    )
    schedule = lambda count: 0.5 + 0 * count
    found = kbo.minimize(
        problem, np.ones(4), method=Parametric(Direct()), solver=kbo.solvers.QuasiNewton(),
        optimizer=Optax(proximal_gradient(schedule, L1(0.1)), max_steps=100),
    )
    np.testing.assert_allclose(found.omega, [1.9, 0, 0, -0.9], atol=1e-4)
    assert (found.omega[1:3] == 0).all()
