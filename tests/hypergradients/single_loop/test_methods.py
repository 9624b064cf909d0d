"""Methods in which θ moves along with ω."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.datasets import make_bilevel_quadratics, make_mehra_hamm
from kbo.hypergradients import (
    BOME,
    BSA,
    F2SA,
    FSLA,
    MRBO,
    SABA,
    SOBA,
    STFBO,
    SUSTAIN,
    TTSA,
    VRBO,
    AmIGO,
    Direct,
    Mean,
    Parametric,
    Penalty,
    StocBiO,
    Stochastic,
)
from kbo.optimizers import Optax
from tests.helpers import central
from tests.hypergradients.common import check_resumes
from tests.neural import OMEGA, iv_like

pytestmark = pytest.mark.usefixtures("x64")
SLOW = pytest.mark.slow
RATE = 0.3
FEATURES = kbo.FeatureSpace(jnp.tanh)


@pytest.fixture(scope="module")
def quadratics():
    with jax.enable_x64(True):
        return make_bilevel_quadratics(256, 20, 10, random_state=0)


def iterate(problem, omega, method, steps):
    """The hypergradients of ``steps`` steps at one ω."""
    state, found = None, []
    for _ in range(steps):
        hg = kbo.value_and_hypergradient(problem, omega, method=method, state=state)
        state = hg.state
        found.append(hg)
    return found


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


@pytest.mark.parametrize("rate", [1.0, 10.0, 1000.0])
def test_rates_that_set_themselves_reach_the_minimum_from_any_first_one(quadratics, rate):
    errors = []
    for steps in (100, 400):
        found = kbo.minimize(
            quadratics.problem, quadratics.omega0, method=STFBO(rate), throw=False,
            optimizer=Optax(optax.sgd(1.0), max_steps=steps),
        )
        errors.append(quadratics.value(found.omega) - quadratics.lowest)
    first = quadratics.value(quadratics.omega0) - quadratics.lowest
    # The paper's rate is 1/t, up to logarithms, for any L; quadratics are faster.
    assert errors[1] <= 0.25 * errors[0] and errors[1] < 1e-3 * first


# What is drawn


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
