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
        check_law(rule(40), lambda random, n, seed=seed: draw(np.random.default_rng(seed), n))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda random, x, t: (0.9 * x, t), "differ in x of the outer law"),
        (lambda random, x, t: (x, t + 0.05), "the targets given x of the outer"),
        (lambda random, x, t: (x, t + 0.3 * random.normal(size=len(t))), "the spread of the targets"),
        (lambda random, x, t: (x, random.permutation(t)), "the targets given x of the outer"),
    ],
)
def test_another_law_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        check_law(rule(40), outer(change))


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
        ({"draw": lambda random, n: draw(random, n // 2)}, "returned 8 inner samples, not 16"),
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
    with pytest.raises(ValueError, match="outside of the box"):
        right.value_and_grad([-1.5, -2.0])
    with pytest.raises(ValueError, match="outside of the box"):
        theory.run_rate_experiment(right, [20], n_repeats=2, omega=[-0.5, -9.0])


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
