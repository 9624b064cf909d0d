"""A rule and a sampler that do not describe the same law are refused, each fault by its name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
import theory
from theory import estimators
from theory.population import QuadraturePopulation
from theory.population.law import check_law
from theory.population.quadrature import gauss_legendre


def rule(level):
    x, p = gauss_legendre(level)
    nodes = np.tile(x, 2)[:, None], np.concatenate([np.sin(3 * x) + s for s in (-0.5, 0.5)])
    return (x[:, None], np.sin(3 * x), p), (*nodes, np.tile(p / 2, 2))


def draw(random, n):
    def sample():
        x = random.uniform(-1, 1, (n, 1))
        return x, np.sin(3 * x[:, 0]) + random.choice([-0.5, 0.5], size=n)

    return sample(), sample()


def population(rule=rule, draw=draw, **other):
    return QuadraturePopulation(
        "sine", (kbo.losses.Squared(), kbo.losses.Squared()),
        lambda omega: kbo.kernels.Gaussian(jnp.exp(omega[0])), lambda omega: jnp.exp(omega[1]),
        rule, draw, ([-1.0, -3.0], [0.0, -1.0]), **other,
    )


@pytest.fixture(scope="module")
def right():
    return population()


def outer(change):
    """The sampler with its outer sample changed."""
    def changed(random, n):
        inner, (x, t) = draw(random, n)
        return inner, change(random, x, t)

    return changed


def test_the_right_law_passes_with_any_seed_of_the_sampler():
    for seed in range(10):
        check_law(rule(40), lambda random, n, seed=seed: draw(np.random.default_rng(seed), n), True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda random, x, t: (0.9 * x, t), "differ in x of the outer law"),
        (lambda random, x, t: (x, t + 0.05), "differ in the outer targets given x"),
        (lambda random, x, t: (x, t + 0.3 * random.normal(size=len(t))), "the spread of the outer targets"),
        (lambda random, x, t: (x, random.permutation(t)), "differ in the outer targets given x"),
    ],
)
def test_another_law_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        check_law(rule(40), outer(change), True)


def test_noise_of_inner_targets_may_be_left_to_the_mean(right):
    # ``rule`` has no noise in the inner targets, ``draw`` has: a squared loss sees E[t | x] alone.
    value, grad = right.value_and_grad([-0.5, -2.0])
    large = theory.population.LargeSamplePopulation(right, 1000)
    found, slope = large.value_and_grad([-0.5, -2.0])
    assert abs(found - value) < large.error_bound
    assert (np.abs(slope - grad) < large.error_bound).all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"rule": lambda level: rule(15)}, "no more nodes at level 20"),
        ({"rule": lambda level: [(x, t, 2 * p) for x, t, p in rule(level)]}, "sum to 2, not to 1"),
        ({"rule": lambda level: [(x, t, np.abs(p)[:-1]) for x, t, p in rule(level)],
          "levels": (40,)}, "probabilities"),
        ({"draw": lambda random, n: draw(random, n // 2)}, r"inner x of shape \(8, 1\), not \(16, d\)"),
        ({"draw": lambda random, n: draw(np.random.default_rng(0), n)}, "for two generators"),
        ({"draw": lambda random, n: draw(np.random.default_rng(), n)}, "for one state"),
        ({"levels": (2, 3), "tol": 1e-14}, r"still changes by .* omega=\["),
    ],
)
def test_faults_of_rule_and_draw_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        population(**wrong)


def test_a_law_on_finitely_many_points_needs_one_level():
    points = np.linspace(-1, 1, 5)[:, None]
    finite = lambda level: ((points, points[:, 0], np.full(5, 0.2)),) * 2

    def pick(random, n):
        chosen = [points[random.integers(5, size=n)] for _ in range(2)]
        return [(x, x[:, 0]) for x in chosen]

    found = population(finite, pick, levels=(1,))
    assert found.level == 1 and found.error_bound <= 1e-12


def test_outside_of_its_box_a_quadrature_gives_no_truth(right):
    for far in ([-6.0, -6.0], [-5.0, -12.0]):
        with pytest.raises(ValueError, match="outside of the box"):
            right.value_and_grad(far)
        with pytest.raises(ValueError, match="outside of the box"):
            theory.run_rate_experiment(right, [20], n_repeats=2, omega=far)
    value, _ = right.value_and_grad([-1.2, -2.0])  # where more nodes change nothing
    finer = population(levels=(320,))
    assert value == pytest.approx(finer.value_and_grad([-1.2, -2.0])[0], abs=1e-8)
    # A descent leaves the box.
    theory.run_rate_experiment(right, [20], n_repeats=2, quantities=["descent_end"])


def test_rare_targets_are_no_other_law():
    x, p = gauss_legendre(40)
    nodes = np.tile(x, 2)[:, None], np.repeat([0.0, 1.0], 40), np.concatenate([p, p]) * np.repeat(
        [1 - 5e-5, 5e-5], 40)
    sample = lambda random, n: (random.uniform(-1, 1, (n, 1)), 1.0 * (random.uniform(size=n) < 5e-5))
    for seed in range(20):
        own = lambda random, n, seed=seed: [sample(np.random.default_rng([seed, k]), n) for k in (0, 1)]
        check_law((nodes, nodes), own, False)


def test_an_estimator_of_ones_own_is_called_in_float64(right):
    seen = []

    def own(problem, quadratic):
        def value_and_grad(omega):
            seen.append(jnp.zeros(1).dtype)
            found = kbo.value_and_hypergradient(problem, jnp.asarray(omega))
            seen.append(found.grad.dtype)
            return found.value, found.grad

        return estimators.Estimate(value_and_grad, None)

    theory.run_rate_experiment(right, [20], n_repeats=2, omega=[-0.5, -2.0], estimator=own)
    assert seen and set(seen) == {np.dtype(np.float64)}


def test_another_ridge_is_compiled_once_for_all_samples(right):
    wrong = estimators.OtherRidge(lambda n: 2.0)
    omega = np.array([-0.5, -2.0])
    wrong(right.sample(20, 20, 0), False).value_and_grad(omega)
    before = kbo.programs.traces()
    value, _ = wrong(right.sample(20, 20, 1), False).value_and_grad(omega)
    assert kbo.programs.traces() == before
    with jax.enable_x64(True):
        twice = right.sample(20, 20, 1).replace(ridge=2 * np.exp(-2.0))
        assert value == pytest.approx(kbo.value_and_hypergradient(twice, omega).value, rel=1e-9)


def test_only_a_loss_affine_in_the_target_lets_the_mean_stand_for_the_noise():
    robust = lambda w, h, t: jnp.sqrt(0.01 + (h - t) ** 2)
    squares = lambda w, h, t: 0.5 * (h - t**2) ** 2
    own = lambda w, h, t: 0.5 * (h - w[0] * t) ** 2
    for loss, noise_may_go in ((kbo.losses.Squared(), True), (own, True), (robust, False), (squares, False)):
        make = lambda loss=loss: QuadraturePopulation(
            "sine", (loss, kbo.losses.Squared()), kbo.kernels.Gaussian(0.5), 0.05, rule, draw,
            ([0.5], [1.0]),
        )
        if noise_may_go:
            make()
        else:
            with pytest.raises(ValueError, match="spread of the inner targets"):
                make()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda value, grad: (value, grad[:1]), r"returned shapes \[\(\), \(1,\)\]"),
        (lambda value, grad: (grad, value), "a number and a gradient"),
    ],
)
def test_an_estimate_of_another_shape_is_refused(right, wrong, named):
    def own(problem, quadratic):
        at = estimators.Plain()(problem, quadratic).value_and_grad
        return estimators.Estimate(lambda omega: wrong(*at(omega)), None)

    with pytest.raises(ValueError, match=named):
        theory.run_rate_experiment(right, [20], 2, omega=[-0.5, -2.0], estimator=own)
    with pytest.raises(ValueError, match="must return a theory"):
        theory.run_rate_experiment(
            right, [20], 2, omega=[-0.5, -2.0], estimator=lambda problem, quadratic: own)


def test_faults_of_shape_are_named():
    nan = lambda random, n: [(x, np.where(x[:, 0] > 0.9, np.nan, t)) for x, t in draw(random, n)]
    for wrong, named in (
        ({"draw": nan}, "not finite"),
        ({"draw": lambda random, n: [(x[:, 0], t) for x, t in draw(random, n)]}, r"not \(16, d\)"),
        ({"draw": lambda random, n: [(x, t[:, None]) for x, t in draw(random, n)]}, "the shapes"),
        ({"rule": lambda level: [side[:2] for side in rule(level)]}, "x, targets, probabilities"),
        ({"rule": lambda level: [(x[:, 0], t, p) for x, t, p in rule(level)]}, r"shape \(N, d\)"),
    ):
        with pytest.raises(ValueError, match=named):
            population(**wrong)


def test_errors_of_functions_in_the_norm_of_the_rkhs(right):
    records = theory.run_rate_experiment(right, [40, 640], 4, ["h_rkhs", "h_l2"], omega=[-0.5, -2.0])
    means = records.frame().groupby(["quantity", "n"])["error"].mean()
    assert means["h_rkhs", 640] < 0.5 * means["h_rkhs", 40]
    assert means["h_l2", 40] < means["h_rkhs", 40]  # k(x, x) = 1
