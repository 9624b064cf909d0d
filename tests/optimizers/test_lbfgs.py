"""LBFGS: against SciPy's in boxes, and begun on parts of the samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import kbo
from kbo.optimizers import LBFGS
from kbo.search.run import LEAST_PART
from kbo.solvers import Exact, QuasiNewton
from tests import helpers


def ran(optimizer, function, start, lower=-np.inf, upper=np.inf):
    """Status, last point and number of evaluations of a search on (f, ∇f)."""
    start = np.asarray(start, float)
    count, reported = [0], [start]

    def evaluate(point, tighten=None):
        if tighten is not None:
            return None
        count[0] += 1
        return function(point)

    full = lambda side: np.broadcast_to(np.asarray(side, float), start.shape)
    status = optimizer.run(evaluate, reported.append, start, full(lower), full(upper))
    return status, reported[-1], count[0]


def rosenbrock(x):
    return scipy.optimize.rosen(x), scipy.optimize.rosen_der(x)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6), st.floats(0, 4))
def test_convex_quadratics_in_a_box_are_solved(q, seed, spread):
    """Stationary in the box, and as low as SciPy's L-BFGS-B, whatever the conditioning."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(q, q)))[0]
    H = axes @ np.diag(10 ** random.uniform(0, spread, q)) @ axes.T
    b = H @ random.normal(size=q)
    f = lambda x: (0.5 * x @ H @ x - b @ x, H @ x - b)
    lower, upper = -random.uniform(0, 1, q), random.uniform(0, 1, q)
    start = random.uniform(lower, upper)
    scale = 1 + np.linalg.norm(b)
    _, x, _ = ran(LBFGS(500, tol=1e-7 * scale, ftol=1e-16), f, start, lower, upper)
    assert (lower <= x).all() and (x <= upper).all()
    best = scipy.optimize.minimize(
        f, start, jac=True, method="L-BFGS-B", bounds=list(zip(lower, upper, strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    assert f(x)[0] <= best.fun + 1e-6 * scale


@pytest.mark.parametrize("q", [2, 10, 30])
@pytest.mark.parametrize("upper", [np.inf, 0.5])
def test_a_curved_valley_takes_about_as_many_evaluations_as_scipys(q, upper):
    start = np.full(q, -1.2)
    start[1::2] = 0.4
    status, x, count = ran(LBFGS(1000, tol=1e-6, ftol=0.0), rosenbrock, start, upper=upper)
    theirs = scipy.optimize.minimize(
        rosenbrock, start, jac=True, method="L-BFGS-B", bounds=[(None, upper)] * q,
        options={"ftol": 0, "gtol": 1e-6, "maxiter": 1000},
    )
    assert status.ok
    assert rosenbrock(x)[0] <= theirs.fun + 1e-8
    assert count <= 1.6 * theirs.nfev


def test_walls_and_cliffs_are_backed_away_from():
    """f is not finite beyond 1, to which it falls."""
    f = lambda x: (-x.sum(), -np.ones(2)) if (x < 1).all() else (np.nan, np.full(2, np.nan))
    walled = lambda x: (np.inf, np.zeros(2)) if not np.isfinite(f(x)[0]) else f(x)
    _, x, _ = ran(LBFGS(50), walled, np.zeros(2))
    assert 1.9 < x.sum() < 2


def test_remembered_curvature_is_given_up_where_it_misleads():
    """A pair from elsewhere, a million times too stiff, holds every step back."""
    pairs = {"count": 0}

    def f(x):
        pairs["count"] += 1
        stiff = 1e6 if pairs["count"] <= 2 else 1.0
        return 0.5 * stiff * x @ x, stiff * x

    _, x, _ = ran(LBFGS(500, tol=1e-8), f, np.ones(3))
    assert np.linalg.norm(x) <= 1e-8


@pytest.mark.parametrize(
    ("seed", "tol"),
    [(seed, 1e-6) for seed in range(0, 300, 3)] + [(28, 1e-8), (46, 1e-8), (49, 1e-8), (214, 1e-8)],
)
def test_a_bound_that_is_all_but_reached_does_not_stop_the_search(seed, tol):
    """Projected, a quasi-Newton step then need not descend; at 1e-8 only slopes tell descent."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(3, 3)))[0]
    H, b = axes @ np.diag(10 ** random.uniform(0, 3, 3)) @ axes.T, 10 * random.normal(size=3)
    f = lambda x: (0.5 * x @ H @ x - b @ x, H @ x - b)
    search = LBFGS(200, tol=tol, ftol=0.0)
    second = ran(LBFGS(2, ftol=0.0), f, np.zeros(3))[1]
    upper = np.full(3, np.inf)
    upper[0] = max(second[0] + 1e-13, 0.0)
    status, x, _ = ran(search, f, np.zeros(3), upper=upper)
    assert status.ok
    assert np.linalg.norm(x - np.minimum(x - f(x)[1], upper)) <= tol


# Parts of the samples

BOX = {"l": np.full(3, -2.0), "r": -12.0}, {"l": np.full(3, 2.0), "r": 3.0}


@functools.cache
def far_start():
    """Kernel ridge regression on 800 + 800 points from a ridge far too large."""
    rng = np.random.default_rng(0)
    x, x_out = rng.uniform(-2, 2, size=(2, 800, 3))
    f = lambda x: np.sin(2 * x[:, 0]) + np.cos(2 * x[:, 1])
    with jax.enable_x64(True):
        problem = kbo.BilevelProblem(
            kbo.losses.Squared(), kbo.losses.Squared(),
            kbo.Sample(x, f(x) + 0.1 * rng.normal(size=800)),
            kbo.Sample(x_out, f(x_out) + 0.1 * rng.normal(size=800)),
            lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))), lambda w: jnp.exp(w["r"]),
        )
    return problem, {"l": np.full(3, 0.5), "r": 2.0}


def test_parts_save_evaluations_of_the_whole(x64):
    problem, start = far_start()
    direct = kbo.minimize(problem, start, bounds=BOX)
    parted = kbo.minimize(problem, start, bounds=BOX, optimizer=LBFGS(parts=(1 / 8, 1 / 2)))
    assert direct.status.ok and parted.status.ok
    assert parted.value == pytest.approx(direct.value, rel=1e-6)
    reached = lambda r: next(
        k.evaluations - r.history[0].evaluations + 1 for k in r.history
        if k.value <= direct.value + 1e-3 * (direct.history[0].value - direct.value)
    )
    assert reached(parted) <= 3 and 3 * reached(parted) <= reached(direct)
    # The history is of the whole, and begins where the parts led.
    at = kbo.value_and_hypergradient(problem, parted.history[0].omega)
    assert parted.history[0].value == pytest.approx(at.value, rel=1e-9)
    assert parted.history[0].evaluations > 1


def test_parts_come_in_their_order_and_hand_their_curvature_on():
    """f of a part is a quadratic of the same curvature around another point."""
    H = np.diag([1.0, 30.0, 400.0])
    seen = []

    def evaluate(point, part=1.0, tighten=None):
        if tighten is not None:
            return None
        seen.append((part, point))
        away = point - part
        return 10 + 0.5 * away @ H @ away, H @ away

    status = LBFGS(tol=1e-8, parts=(0.25, 0.5)).run(
        evaluate, lambda point: None, np.full(3, 9.0), np.full(3, -np.inf), np.full(3, np.inf)
    )
    assert status.ok
    parts = [part for part, _ in seen]
    assert parts == sorted(parts) and set(parts) == {0.25, 0.5, 1.0}
    assert parts.count(1.0) < parts.count(0.25)
    point = seen[-1][1]
    np.testing.assert_allclose(point, 1.0, atol=1e-5)


def test_samples_that_depend_on_omega_have_parts_too(x64):
    """Weights of samples: only those drawn are moved by the part."""
    rng = np.random.default_rng(1)
    x, x_out = rng.normal(size=(2, 120, 2))
    t, y = x[:, 0] + (np.arange(120) % 3 == 0) * rng.normal(size=120) * 3, x_out[:, 0]
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(),
        lambda w: kbo.Sample(x, t, jax.nn.sigmoid(w)), kbo.Sample(x_out, y),
        kbo.RKHS(kbo.kernels.Gaussian(2.0)), 1e-2, penalty=lambda w: 1e-4 * jnp.sum(w**2),
    )
    found = kbo.minimize(problem, np.zeros(120), optimizer=LBFGS(parts=(0.5,)))
    direct = kbo.minimize(problem, np.zeros(120))
    assert found.value == pytest.approx(direct.value, rel=1e-4)


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_when_time_is_up_on_a_part_the_whole_is_still_seen(seconds, x64, tmp_path):
    problem, start = far_start()
    path = tmp_path / "log"
    settings = {"optimizer": LBFGS(parts=(0.25,)), "checkpoint": path, "bounds": BOX}
    result = kbo.minimize(problem, start, max_time=seconds, **settings)
    assert result.status is kbo.Status.STOPPED
    assert np.isfinite(result.value) and len(result.history) == 1
    # The same call with more time goes on from there.
    longer = kbo.minimize(problem, start, **settings)
    assert longer.history[0].value == result.value
    assert longer.status.ok


class Spending(kbo.hypergradients.Parametric):
    """Notes what every evaluation took."""

    spent: list = None

    def evaluate(self, instance, solver, state=None):
        found = kbo.hypergradients.Parametric.evaluate(self, instance, solver, state)
        self.spent.append(found.cost.gradients)
        return found


class Measuring(Exact):
    """Notes the size of every inner sample it sees."""

    seen: list = None

    def solve(self, instance, state=None):
        self.seen.append((instance.inner.size, instance.outer.size))
        return Exact.solve(self, instance, state)


def test_a_part_is_that_share_of_both_samples(x64):
    problem, start = far_start()
    seen = []
    found = kbo.minimize(
        problem, start, bounds=BOX, optimizer=LBFGS(3, parts=(1 / 8, 1 / 2)),
        solver=Measuring(seen=seen),
    )
    sizes = [inner for inner, _ in seen]
    assert all(inner == outer for inner, outer in seen)
    assert sizes == sorted(sizes) and set(sizes) == {100, 400, 800}
    assert sizes.index(800) == found.history[0].evaluations - 1


def test_where_the_whole_has_no_value_there_an_earlier_start_serves(x64):
    """A part leads beyond a cliff that only the whole has."""
    seen = []

    def evaluate(point, part=1.0, tighten=None):
        if tighten is not None:
            return None
        seen.append((part, float(point[0])))
        if part == 1 and point[0] > 0.5:
            return np.inf, np.zeros(1)
        aim = 0.25 if part == 1 else 3.0
        return 1 + 0.5 * float((point[0] - aim) ** 2), point - aim

    reported = []
    status = LBFGS(parts=(0.25, 0.5)).run(
        evaluate, reported.append, np.zeros(1), np.full(1, -9.0), np.full(1, 9.0)
    )
    assert status.ok and reported[-1][0] == pytest.approx(0.25, abs=1e-5)
    assert next(point for part, point in seen if part == 1) > 0.5


def test_a_corner_is_not_evaluated_again_and_again():
    """The other coordinate is fixed: everything that moves ends at its bound."""
    f = lambda x: (-x[0] + 0.0 * x[1], np.array([-1.0, 5.0]))
    status, x, count = ran(LBFGS(), f, [0.0, 1.0], [0.0, 1.0], [0.5, 1.0])
    assert status.ok and x[0] == 0.5 and count <= 4


def test_parts_are_passes_over_a_share_of_the_samples(x64):
    problem, start = far_start()
    features = problem.replace(
        space=lambda w: kbo.FeatureSpace(lambda x: jnp.tanh(x @ jnp.ones((3, 4)) * w["l"][0])),
    )
    result = kbo.minimize(
        features, start, optimizer=LBFGS(2, parts=(0.25,)), solver=QuasiNewton(),
        method=kbo.hypergradients.Parametric(),
    )
    first = result.history[0]
    method = Spending(spent=[])
    again = kbo.minimize(
        features, start, optimizer=LBFGS(2, parts=(0.25,)), solver=QuasiNewton(), method=method
    )
    assert again.history[0].evaluations == first.evaluations
    *on_parts, own = method.spent[: first.evaluations]
    assert first.cost.gradients == pytest.approx(0.25 * sum(on_parts) + own, rel=1e-12)
    assert sum(on_parts) > own


@pytest.mark.parametrize("parts", [(0.0,), (1.0,), (0.5, 2.0), (-0.1,)])
def test_parts_that_are_none_are_refused(parts):
    with pytest.raises(ValueError, match="between 0 and 1"):
        LBFGS(parts=parts)


def test_small_parts_have_some_rows_and_streams_have_none(x64):
    problem, start = helpers.folds_problem("squared")
    seen = []
    kbo.minimize(
        problem, start, optimizer=LBFGS(3, parts=(1e-6,)), throw=False,
        solver=Measuring(seen=seen),
    )
    assert seen[0] == (LEAST_PART, LEAST_PART)
    far, start = far_start()
    streamed = far.replace(
        inner_data=kbo.Sample(kbo.Stream(np.asarray(far.inner_data.x)), far.inner_data.target)
    )
    with pytest.raises(ValueError, match="not of a kbo"):
        kbo.minimize(
            streamed, start, optimizer=LBFGS(parts=(0.5,)), solver=kbo.solvers.Nystrom(20)
        )


def test_a_line_search_that_finds_nothing_is_a_failure_not_a_crash():
    evaluations = []

    def evaluate(point, tighten=None):
        if tighten is not None:
            return None
        evaluations.append(point.copy())
        if len(evaluations) == 4:
            return 1e3, np.full(2, 1e4)
        if len(evaluations) > 4:
            return np.inf, np.full(2, np.nan)
        return float(-point.sum()), np.array([-1.0, -1.0 / len(evaluations)])

    reported = []
    status = kbo.optimizers.LBFGS(max_steps=20).run(
        evaluate, reported.append, np.zeros(2), np.full(2, -50.0), np.full(2, 50.0)
    )
    assert status is kbo.Status.BLOCKED  # no point ahead has a value
    assert len(evaluations) > 5
    for point in reported:
        assert any((point == known).all() for known in evaluations[:3])


def test_a_search_that_stalls_begins_anew(x64):
    """SciPy's L-BFGS-B, which this once was, ended in a corner of the box here, at 0.0042."""
    rng = np.random.default_rng(18)
    f = lambda z: np.sin(2 * z[:, 0] + z.sum(1) ** 2)
    x = rng.uniform(-1, 1, (40, 2))
    t = f(x) + 1e-3 * rng.normal(size=40)
    x_out = rng.uniform(-1, 1, (40, 2))
    problem = kbo.BilevelProblem(
        inner_loss=kbo.losses.Squared(), outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, f(x_out)),
        space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))),
        ridge=lambda w: jnp.exp(w["r"]),
    )
    result = kbo.minimize(
        problem, {"l": 1.0, "r": -3.0}, bounds=({"l": -5.0, "r": -16.0}, {"l": 5.0, "r": 3.0}),
        optimizer=kbo.optimizers.LBFGS(100, tol=0.0, ftol=1e-4, log=True),
    )
    squares = lambda a, b: ((a[:, None] - b) ** 2).sum(-1)
    best = np.inf
    for log_l in np.linspace(-2, 2, 41):  # the whole range of lengthscales that fit at all
        K, cross = (np.exp(-squares(z, x) / (2 * np.exp(2 * log_l))) for z in (x, x_out))
        for r in np.linspace(-16, 3, 39):
            error = cross @ np.linalg.solve(K + 40 * np.exp(r) * np.eye(40), t) - f(x_out)
            best = min(best, 0.5 * np.mean(error**2))
    assert result.value <= 1.01 * best
    # At a ridge of e^-16 the last digits of L are rounding, which decides how the search ends.
    assert result.status in (kbo.Status.CONVERGED, kbo.Status.LINE_SEARCH_FAILED)
