"""Intervals for one data set, against closed forms in NumPy and against repeated samples."""

import jax
import numpy as np
import pytest

import kbo
import theory
from theory import problems

W4 = np.array([0.3, 0.7, 0.2, 0.9])
RIDGE, SCALE = 0.05, 0.5


def gaussian(x, z, lengthscale):
    square = (x * x).sum(1)[:, None] + (z * z).sum(1) - 2 * x @ z.T
    return np.exp(-0.5 * np.maximum(square, 0) / lengthscale**2)


def closed_form(G, C, features, y, omega, ridge):
    """Value and gradient of kernel ridge, (1 + q,), and influences (n, 1 + q), (m, 1 + q)."""
    n, m = len(features), len(y)
    inverse = np.linalg.inv(G / n + ridge * np.eye(n))
    h, residual = C @ inverse @ features / n, features - G @ inverse @ features / n
    r = h @ omega - y
    back = inverse @ C.T @ np.column_stack([r, h]) / m
    moved = residual @ omega
    inner = np.column_stack(
        [back[:, 0] * moved, residual * back[:, :1] + back[:, 1:] * moved[:, None]]
    ) / n
    outer = np.column_stack([0.5 * r * r, h * r[:, None]])
    return outer.mean(0), inner - inner.mean(0), (outer - outer.mean(0)) / m


def extrapolated(G, C, features, y, omega, ridge, orders):
    """The estimate over halves and quarters, and I_i of both samples, written out."""
    plain = closed_form(G, C, features, y, omega, ridge)
    total = [8 / 3 * part for part in plain]
    for rows, rows_out in orders:
        for parts, factor in ((2, -2.0), (4, 1 / 3)):
            halves = zip(np.array_split(rows, parts), np.array_split(rows_out, parts), strict=True)
            for a, b in halves:
                some = closed_form(
                    G[np.ix_(a, a)], C[np.ix_(b, a)], features[a], y[b], omega, ridge
                )
                share = factor / parts / len(orders)
                total[0] = total[0] + share * some[0]
                total[1][a] += share * some[1]
                total[2][b] += share * some[2]
    return total[0], *[p + np.sqrt(0.5) * (t - p) for p, t in zip(plain[1:], total[1:], strict=True)]


def made(seed, n=60, m=50, same=False):
    """A line, one feature, and its problem."""
    random = np.random.default_rng(seed)
    sample = lambda k: (x := random.uniform(-1, 1, (k, 1)), np.sin(3 * x[:, 0])
                        + 0.5 * random.normal(size=k))
    x, t = sample(n)
    x_out, y = (x.copy(), t.copy()) if same else sample(m)
    problem = kbo.BilevelProblem(
        inner_loss=lambda w, v, t: 0.5 * (v - t * w[0]) ** 2,
        outer_loss=lambda w, v, y: 0.5 * (v - y) ** 2,
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y),
        space=kbo.RKHS(kbo.kernels.Gaussian(SCALE)), ridge=RIDGE,
    )
    return problem, (x, t[:, None], x_out, y)


@pytest.fixture(scope="module", autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def check(found, estimate, influence, rtol=1e-5):
    np.testing.assert_allclose(np.append(found.value, found.grad), estimate, rtol=1e-7, atol=1e-10)
    covariance = influence.T @ influence
    errors = np.append(found.value_error, found.grad_error)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=rtol)
    np.testing.assert_allclose(found.covariance, covariance[1:, 1:], rtol=rtol, atol=1e-12)


def test_the_papers_problem_against_its_closed_form():
    """Estimates, biases and errors; halves and quarters of sizes that differ by one."""
    problem = problems.kbo_paper_iv()
    sample = problem.sample(50, 43, 0)
    x, features = np.asarray(sample.inner_data.x), np.asarray(sample.inner_data.target)
    x_out, y = np.asarray(sample.outer_data.x), np.asarray(sample.outer_data.target)
    given = gaussian(x, x, 0.2), gaussian(x_out, x, 0.2), features, y, W4, 0.01
    plain = closed_form(*given)
    check(theory.hypergradient_interval(sample, W4, splits=0), plain[0], np.vstack(plain[1:]))
    random = np.random.default_rng(5)
    orders = [(random.permutation(50), random.permutation(43)) for _ in range(2)]
    estimate, *influences = extrapolated(*given, orders)
    found = theory.hypergradient_interval(sample, W4, random_state=5)
    check(found, estimate, np.vstack(influences))
    bias = np.append(found.value_bias, found.grad_bias)
    np.testing.assert_allclose(bias, plain[0] - estimate, rtol=1e-6, atol=1e-10)
    reach = 1.959964 * np.append(found.value_error, found.grad_error)
    low, high = np.vstack([found.value_interval, found.grad_interval]).T
    np.testing.assert_allclose([low, high], [estimate - reach, estimate + reach], rtol=1e-5)
    lines = str(found).splitlines()
    assert len(lines) == 6 and f"{found.value:.4g}" in lines[1] and lines[5].startswith("dL[3]")
    assert f"{high[4]:.4g}" in lines[5] and f"{bias[4]:.2g}" in lines[5]


@pytest.mark.parametrize("share_object", [True, False])
def test_one_observation_that_acts_inside_and_outside(share_object):
    problem, (x, t, _, y) = made(0, same=True)
    if share_object:
        problem = problem.replace(outer_data=problem.inner_data)
    G = gaussian(x, x, SCALE)
    omega, random = np.array([0.8]), np.random.default_rng(0)
    orders = [(order := random.permutation(60), order) for _ in range(2)]
    estimate, inner, outer = extrapolated(G, G, t, y, omega, RIDGE, orders)
    found = theory.hypergradient_interval(problem, omega)
    check(found, estimate, inner + outer)
    apart = np.sqrt((np.vstack([inner, outer]) ** 2).sum(0))
    assert abs(found.grad_error[0] / apart[1] - 1) > 0.05  # as if independent: another error


@pytest.mark.parametrize("rows", [np.arange(60)[::-1], np.arange(30, 60), np.arange(59, 60)])
def test_samples_that_share_rows_otherwise_are_refused(rows):
    problem, (x, t, _, _) = made(0)
    outer = kbo.Sample(x[rows], t[rows, 0])
    with pytest.raises(ValueError, match=f"share {len(rows)} observations of 60"):
        theory.hypergradient_interval(problem.replace(outer_data=outer), np.array([0.8]))


def test_points_of_few_values_are_not_taken_for_the_same_observations():
    problem, (x, t, x_out, y) = made(0)
    samples = [kbo.Sample(np.round(2 * v), u) for v, u in ((x, t[:, 0]), (x_out, y))]
    problem = problem.replace(inner_data=samples[0], outer_data=samples[1])
    v, u = np.asarray(samples[0].x), np.asarray(samples[1].x)
    plain = closed_form(gaussian(v, v, SCALE), gaussian(u, v, SCALE), t, y, np.array([0.8]), RIDGE)
    found = theory.hypergradient_interval(problem, np.array([0.8]), splits=0)
    check(found, plain[0], np.vstack(plain[1:]))
    # The same rows in another order are told by points and targets together.
    turned = kbo.Sample(np.asarray(samples[0].x)[::-1], t[::-1, 0])
    with pytest.raises(ValueError, match="share 60 observations"):
        theory.hypergradient_interval(problem.replace(outer_data=turned), np.array([0.8]))


# -- steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [1e-2, 2e-4, 1e-5])
@pytest.mark.parametrize("step", [1e-2, 1e-7])
def test_steps_suit_a_ridge_that_is_omega(ridge, step):
    problem, (x, t, x_out, y) = made(1)
    moving = problem.replace(
        inner_loss=lambda w, v, t: 0.5 * (v - t) ** 2, ridge=lambda w: w[0],
    )
    G, C, one = gaussian(x, x, SCALE), gaussian(x_out, x, SCALE), np.ones(1)

    def influence(ridge):  # that of the value; its derivative is the gradient's
        _, inner, outer = closed_form(G, C, t, y, one, ridge)
        return np.append(inner[:, 0], outer[:, 0])

    at = lambda d: (influence(ridge * (1 + d)) - influence(ridge * (1 - d))) / (2 * d * ridge)
    exact = np.linalg.norm((4 * at(5e-4) - at(1e-3)) / 3)
    found = theory.hypergradient_interval(moving, np.array([ridge]), splits=0, step=step)
    np.testing.assert_allclose(found.grad_error[0], exact, rtol=2e-3)


@pytest.mark.parametrize("at", [0.0, 1e-9, 700.0])
def test_steps_suit_a_factor_near_zero_and_a_large_one(at):
    problem, (x, t, x_out, y) = made(2)
    given = gaussian(x, x, SCALE), gaussian(x_out, x, SCALE), t, y, np.array([at]), RIDGE
    plain = closed_form(*given)
    found = theory.hypergradient_interval(problem, np.array([at]), splits=0)
    check(found, plain[0], np.vstack(plain[1:]), rtol=1e-3)


def test_where_no_step_settles_that_is_said():
    problem, _ = made(3)
    kinked = problem.replace(outer_loss=lambda w, v, y: 0.5 * (v - y) ** 2 * abs(w[0]) ** 1.5)
    with pytest.raises(ValueError, match=r"entry 0 of omega .* does not settle"):
        theory.hypergradient_interval(kinked, np.array([0.0]), splits=0)


# -- weights, losses, bad input --------------------------------------------------------------------


def test_rows_of_no_weight_are_left_out_and_the_unit_of_weights_does_not_matter():
    problem, (x, t, _, _) = made(4)
    random = np.random.default_rng(0)
    used = np.arange(60) % 5 > 0
    weights = random.uniform(0.5, 2, 60) * used
    some, whole, scaled = (
        theory.hypergradient_interval(problem.replace(inner_data=sample), np.array([0.8]))
        for sample in (
            kbo.Sample(x[used], t[used, 0], weights[used]), kbo.Sample(x, t[:, 0], weights),
            kbo.Sample(x, t[:, 0], 7 * weights),
        )
    )
    for other in (whole, scaled):
        np.testing.assert_allclose(other.grad, some.grad, rtol=1e-8)
        np.testing.assert_allclose(other.grad_error, some.grad_error, rtol=1e-6)


class Root(kbo.losses.Joint):
    """The mean squared error, of all predictions at once."""

    def __call__(self, omega, predictions, targets, weights):
        return 0.5 * weights @ (predictions - targets) ** 2 / weights.sum()


def test_a_joint_outer_loss_and_a_penalty():
    problem, _ = made(5)
    separate = problem.replace(penalty=lambda w: 0.1 * w[0] ** 2)
    joint = separate.replace(outer_loss=Root())
    one, other = (theory.hypergradient_interval(p, np.array([0.8])) for p in (separate, joint))
    np.testing.assert_allclose(other.grad, one.grad, rtol=1e-9)
    np.testing.assert_allclose(other.grad_error, one.grad_error, rtol=1e-7)
    bare = theory.hypergradient_interval(problem, np.array([0.8]))
    np.testing.assert_allclose(one.grad - bare.grad, 0.16, rtol=1e-8)


@pytest.mark.parametrize(("settings", "message"), [
    ({"confidence": 95}, "confidence=95"), ({"confidence": 0.0}, "confidence=0"),
    ({"confidence": np.nan}, "confidence=nan"), ({"confidence": True}, "confidence=True"),
    ({"splits": -1}, "splits=-1"), ({"splits": 1.5}, "splits=1.5"), ({"step": 0.0}, "step=0"),
    ({"step": np.inf}, "step=inf"),
])
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        theory.hypergradient_interval(made(0)[0], np.array([0.8]), **settings)


def test_samples_that_have_no_interval():
    problem, (x, t, _, _) = made(0)
    omega = np.array([0.8])
    for changes, message in (
        ({"inner_data": lambda w: problem.inner_data}, "inner_data must be a kbo.Sample"),
        ({"outer_data": kbo.Sample(x[:15] + 0.1, t[:15, 0])}, "15 observations are too few"),
        ({"inner_data": kbo.Sample(x, t[:, 0], np.ones((2, 60)))}, "inner_data has 2 replicates"),
        ({"inner_data": kbo.Sample(kbo.Stream(x), t[:, 0])}, "inner_data is a kbo.Stream"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.hypergradient_interval(problem.replace(**changes), omega)


# -- coverage --------------------------------------------------------------------------------------


def coverage(problem, omega, n, repeats, **settings):
    """Shares of intervals that hold the truth, (1 + q,), and errors (R, 1 + q)."""
    truth, inside, errors = np.append(*problem.value_and_grad(omega)), [], []
    for seed in range(repeats):
        found = theory.hypergradient_interval(problem.sample(n, n, [n, seed]), omega, **settings)
        low, high = np.vstack([found.value_interval, found.grad_interval]).T
        inside.append((low <= truth) & (truth <= high))
        errors.append(np.append(found.value, found.grad) - truth)
    return np.mean(inside, 0), np.array(errors)


@pytest.mark.slow
def test_extrapolation_takes_most_of_the_bias_away():
    problem = problems.kbo_paper_iv()
    omega = problem.start(1)
    plain, with_bias = coverage(problem, omega, 128, 10, splits=0)
    covered, errors = coverage(problem, omega, 128, 10)
    bias = lambda e: np.linalg.norm(e.mean(0)[1:])
    assert bias(errors) < 0.5 * bias(with_bias)
    assert plain[1:].mean() < 0.6 and covered[1:].mean() > 0.75, (plain, covered)


@pytest.mark.slow
@pytest.mark.parametrize("make", [
    problems.kbo_paper_iv, problems.logistic_weights, problems.predictive_likelihood,
])
def test_intervals_cover(make):
    """At 50 data sets a share has a standard error of .03; the benchmark has more of them."""
    problem = make()
    covered, errors = coverage(problem, problem.start(1), 500, 50)
    assert (covered > 0.85).all(), covered
    assert (np.abs(errors.mean(0)) < 0.5 * errors.std(0)).all()
