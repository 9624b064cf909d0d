"""Standard deviations and intervals, against refits, scikit-learn's Gaussian process and chance."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import TimeSeriesSplit

import kbo
from kbo import KernelBilevelRegressor
from kbo.estimators.kernel.left_out import LeftOut
from kbo.estimators.kernel.posterior import Spanned, Whole
from kbo.parameters import Tunable

rng = np.random.default_rng(0)
X, X_NEW = rng.normal(size=(60, 2)), 1.5 * rng.normal(size=(40, 2))
Y = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=60)
NAMES = {"exact": {}, "nystrom": {"solver": "nystrom", "n_centers": 25}}


@pytest.fixture(scope="module")
def model():
    return KernelBilevelRegressor("matern32").fit(X, Y)


def test_the_gaussian_process_of_scikit_learn(model):
    scale = (model.noise_**2 / model.alpha_)
    kernel = ConstantKernel(scale, "fixed") * Matern(model.lengthscale_, "fixed", nu=1.5)
    kernel = kernel + WhiteKernel(model.noise_**2, "fixed")
    other = GaussianProcessRegressor(kernel, optimizer=None, alpha=0).fit(X, Y - model.intercept_)
    mean, std = other.predict(X_NEW, return_std=True)
    own, own_std = model.predict(X_NEW, return_std=True)
    np.testing.assert_allclose(own, mean + model.intercept_, rtol=1e-8)
    np.testing.assert_allclose(own_std, std, rtol=1e-8)
    # s² is the most likely scale: scaling the whole process lowers the likelihood.
    likelihoods = [
        other.log_marginal_likelihood(other.kernel_.theta)
        for other in (
            GaussianProcessRegressor(c * kernel, optimizer=None, alpha=0).fit(
                X, Y - model.intercept_
            ) for c in (0.95, 1.0, 1.05)
        )
    ]
    assert np.argmax(likelihoods) == 1


@pytest.mark.parametrize("solver", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_leaving_a_sample_out_is_a_refit_without_it(x64, solver, weighted):
    weight = rng.integers(1, 4, size=60).astype(float) if weighted else None
    if weighted:
        weight[7] = 0.0
    model = KernelBilevelRegressor("matern32", **NAMES[solver]).fit(X, Y, weight)
    model.predict_interval(X_NEW)
    posterior = model._posterior
    used = np.arange(60) if weight is None else np.flatnonzero(weight)
    smoother = posterior.smoother(posterior.rows(X_NEW))
    centers = None if solver == "exact" else kbo.solvers.Nystrom(model.X_fit_)
    for place in (0, 5, len(used) - 1):
        left = np.ones(60) if weight is None else weight.copy()
        left[used[place]] = 0.0
        change = smoother[:, place] * model._left_out.residuals[place]
        own = model.predict(X_NEW) - model.intercept_ - change
        expected = _ridge(model, left, X_NEW, centers)
        np.testing.assert_allclose(own, expected, atol=5e-8)


@pytest.mark.parametrize("solver", NAMES)
def test_leaving_a_group_out_is_a_refit_without_it(x64, solver):
    weight = rng.integers(0, 4, size=60).astype(float)
    people = np.array(["a", "b", "c", "d", "e", "f"])[rng.integers(6, size=60)]
    model = KernelBilevelRegressor("matern32", cv=3, **NAMES[solver])
    model.fit(X, Y, weight, groups=people).predict_interval(X_NEW, 0.5)
    posterior, used = model._posterior, np.flatnonzero(weight)
    changes = model._left_out.changes(posterior.smoother(posterior.rows(X_NEW)))
    centers = None if solver == "exact" else kbo.solvers.Nystrom(model.X_fit_)
    for place in (0, 7):
        person = people[used[place]]
        left = np.where(people == person, 0.0, weight)
        own = model.predict(X_NEW) - model.intercept_ - changes[:, place, 0]
        np.testing.assert_allclose(own, _ridge(model, left, X_NEW, centers), atol=2e-6)
        rest = Y[used[place]] - model.intercept_ - _ridge(model, left, X, centers)[used[place]]
        assert model._left_out.residuals[place, 0] == pytest.approx(rest, abs=2e-6)
    alone = KernelBilevelRegressor("matern32", cv=3, **NAMES[solver])
    alone.fit(X, Y, weight, groups=np.arange(60)).predict_interval(X_NEW, 0.5)
    first = alone._left_out
    second = LeftOut(alone._posterior, alone._samples[2])
    np.testing.assert_allclose(first.variance, second.variance, rtol=1e-7)
    np.testing.assert_allclose(first.residuals, second.residuals, atol=1e-9)


def test_intervals_hold_rows_of_new_groups_if_the_groups_are_given():
    covered = {True: [], False: []}
    for seed in range(4):
        drawn = np.random.default_rng(seed)

        def people(count, drawn=drawn):
            level = drawn.normal(size=count)
            x = level[:, None] + 0.05 * drawn.normal(size=(count, 8))  # tells people apart
            z, own = drawn.normal(size=(2, count, 8))
            y = np.sin(z) + 1.5 * drawn.normal(size=(count, 1)) + 0.3 * own
            return np.column_stack([x.ravel(), z.ravel()]), y.ravel()

        (old, y), (new, target) = people(30), people(200)
        groups = np.repeat(np.arange(30), 8)
        for given, held in covered.items():
            model = KernelBilevelRegressor().fit(old, y, groups=groups if given else None)
            low, high = model.predict_interval(new, 0.8).T
            held.append(np.mean((low <= target) & (target <= high)))
    assert 0.75 < np.mean(covered[True]) < 0.9, covered
    assert np.mean(covered[False]) < np.mean(covered[True]) - 0.1, covered


def test_groups_of_any_size_count_alike():
    """With one group of most rows, quantiles over rows would be those of this group."""
    held = []
    for seed in range(12):
        drawn = np.random.default_rng(seed)
        groups = np.repeat(np.arange(20), [200, *[5] * 19])
        y = drawn.normal(size=20)[groups] + 0.1 * drawn.normal(size=len(groups))
        model = KernelBilevelRegressor(kernel="linear", tune=(), alpha=1e6)
        model.fit(np.ones((len(groups), 1)) + 1e-3 * drawn.normal(size=(len(groups), 1)), y, groups=groups)
        low, high = model.predict_interval(np.ones((1, 1)), 0.8)[0]
        new = drawn.normal(size=2000) + 0.1 * drawn.normal(size=2000)
        held.append(np.mean((low <= new) & (new <= high)))
    assert 0.7 < np.mean(held) < 0.92, held


def test_too_few_groups_are_named():
    model = KernelBilevelRegressor(tune=()).fit(X, Y, groups=np.arange(60) % 5)
    with pytest.raises(ValueError, match="needs at least 9 groups, and there are 5"):
        model.predict_interval(X_NEW)


def matern32(a, b, lengthscale):
    r = np.sqrt(3 * np.sum(((a[:, None] - b) / lengthscale) ** 2, -1))
    return (1 + r) * np.exp(-r)


def _ridge(model, weight, at, centers):
    """h at points, by least squares of the whole objective."""
    gram = lambda a, b: matern32(a, b, model.lengthscale_)
    t, Z = Y - model.intercept_, X if centers is None else model.X_fit_
    root = np.linalg.cholesky(gram(Z, Z) + 1e-13 * np.eye(len(Z))).T
    system = np.vstack([np.sqrt(weight)[:, None] * gram(X, Z), np.sqrt(model.alpha_) * root])
    goal = np.append(np.sqrt(weight) * t, np.zeros(len(Z)))
    return gram(at, Z) @ np.linalg.lstsq(system, goal)[0]


@pytest.mark.parametrize("solver", NAMES)
def test_the_interval_is_its_formula(x64, solver):
    model = KernelBilevelRegressor(**NAMES[solver]).fit(X, Y)
    ends = model.predict_interval(X_NEW, coverage=0.8)
    posterior = model._posterior
    std = model.predict(X_NEW, return_std=True)[1]
    std_left = np.sqrt(model._left_out.variance * model.noise_**2 / model.alpha_)
    smoother = posterior.smoother(posterior.rows(X_NEW))
    without = model.predict(X_NEW)[:, None] - smoother * model._left_out.residuals[:, 0]
    count = Tunable.of(model.kernel_).names().count
    each = 1 if model.kept_ == "common lengthscale" else 2
    skews = 2 * count("skew") if model.kept_ == "marginal likelihood" else 0
    tuned = 1 + count("scale") + each * count("lengthscale") + skews  # and alpha
    assert model.n_parameters_ == tuned
    sizes = np.abs(model._left_out.residuals[:, 0]) / std_left * std[:, None] * np.sqrt(60 / (60 - tuned))
    place = int(np.ceil(0.8 * 61))
    np.testing.assert_allclose(ends[:, 1], np.sort(without + sizes)[:, place - 1])
    np.testing.assert_allclose(ends[:, 0], np.sort(without - sizes)[:, 60 - place])
    assert (ends[:, 0] < ends[:, 1]).all()


def test_all_samples_as_centres_give_the_whole_posterior(x64):
    weight = rng.uniform(0.5, 2, size=60)
    kernel = kbo.kernels.Matern32(np.array([1.0, 2.0]))
    whole, spanned = Whole(kernel, X, weight, 0.1), Spanned(kernel, X, X, weight, 0.1)
    np.testing.assert_allclose(whole.slack, spanned.slack, rtol=1e-9)
    rows = whole.rows(X_NEW), spanned.rows(X_NEW)
    np.testing.assert_allclose(whole.smoother(rows[0]), spanned.smoother(rows[1]), atol=1e-9)
    np.testing.assert_allclose(
        whole.variance(X_NEW, rows[0]), spanned.variance(X_NEW, rows[1]), rtol=1e-8
    )


def test_several_outputs_are_so_many_models():
    kernel = kbo.kernels.Gaussian(np.array(1.0))
    options = {"kernel": kernel, "alpha": 0.1, "tune": ()}
    both = KernelBilevelRegressor(**options).fit(X, np.column_stack([Y, 10 * Y + X[:, 1]]))
    mean, std = both.predict(X_NEW, return_std=True)
    ends = both.predict_interval(X_NEW)
    assert mean.shape == std.shape == (40, 2)
    assert ends.shape == (40, 2, 2)
    for k, target in enumerate([Y, 10 * Y + X[:, 1]]):
        one = KernelBilevelRegressor(**options).fit(X, target)
        own = one.predict(X_NEW, return_std=True)
        np.testing.assert_allclose([mean[:, k], std[:, k]], own, rtol=1e-9)
        np.testing.assert_allclose(ends[:, k], one.predict_interval(X_NEW), rtol=1e-8)
        assert one.noise_ == pytest.approx(both.noise_[k])


def test_units_of_the_target_do_not_matter(model):
    other = KernelBilevelRegressor("matern32").fit(X, 1e6 * Y + 5)
    np.testing.assert_allclose(
        other.predict_interval(X_NEW), 1e6 * model.predict_interval(X_NEW) + 5, rtol=1e-3
    )


@pytest.mark.parametrize("blocks", [1, 2**22])
def test_blocks_do_not_change_intervals(model, monkeypatch, blocks):
    expected = model.predict_interval(X_NEW)
    monkeypatch.setattr("kbo.estimators.kernel.predicting.ENTRIES", blocks)
    np.testing.assert_allclose(model.predict_interval(X_NEW), expected, rtol=1e-9)


def test_a_pickled_and_a_refitted_model_forget_the_posterior(model):
    fitted = KernelBilevelRegressor().fit(X, Y)
    ends = fitted.predict_interval(X_NEW)
    again = pickle.loads(pickle.dumps(fitted))
    assert again._posterior is None
    np.testing.assert_array_equal(again.predict_interval(X_NEW), ends)
    assert clone(fitted)._posterior is None
    fitted.fit(X, -Y)
    np.testing.assert_allclose(fitted.predict_interval(X_NEW), -ends[:, ::-1], rtol=1e-4)


def test_a_constant_target_has_intervals_without_width():
    model = KernelBilevelRegressor(tune=()).fit(X, np.full(60, 3.0))
    np.testing.assert_allclose(model.predict_interval(X_NEW), 3.0)
    assert not model.predict(X_NEW, return_std=True)[1].any()


@pytest.mark.slow
@pytest.mark.parametrize("solver", NAMES)
@pytest.mark.parametrize("noise", ["normal", "uniform", "exponential"])
def test_coverage_over_many_draws(solver, noise):
    """Of 60 draws of 120 samples; skewed and bounded noise too. The mean of 6,000 events each."""
    held = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        A, B = draw.uniform(-2, 2, size=(120, 2)), draw.uniform(-2, 2, size=(100, 2))
        errors = {
            "normal": lambda k, g=draw: g.normal(size=k),
            "uniform": lambda k, g=draw: g.uniform(-1, 1, size=k),
            "exponential": lambda k, g=draw: g.exponential(size=k),
        }[noise]
        truth = lambda Z: np.sin(2 * Z[:, 0])
        options = NAMES[solver]
        fitted = KernelBilevelRegressor(**options).fit(A, truth(A) + 0.4 * errors(120))
        ends = fitted.predict_interval(B)
        y = truth(B) + 0.4 * errors(100)
        held.append(np.mean((ends[:, 0] <= y) & (y <= ends[:, 1])))
    assert 0.88 < np.mean(held) < 0.935  # the bounded noise is at .928 with centres


@pytest.mark.slow
def test_the_noise_is_found():
    found = []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        A = draw.uniform(-2, 2, size=(300, 2))
        found.append(KernelBilevelRegressor().fit(
            A, np.sin(2 * A[:, 0]) + 0.4 * draw.normal(size=300)
        ).noise_)
    assert np.mean(found) == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1, "most", np.nan])
def test_a_coverage_outside_its_range_is_refused(model, coverage):
    with pytest.raises(ValueError, match="coverage="):
        model.predict_interval(X_NEW, coverage=coverage)


def test_what_has_no_interval_says_so(model):
    with pytest.raises(ValueError, match="needs at least 99 samples"):
        model.predict_interval(X_NEW, coverage=0.99)
    for loss in ("huber", "quantile", "poisson"):
        other = KernelBilevelRegressor(loss=loss, tune=()).fit(X, np.abs(Y))
        assert not hasattr(other, "noise_")
        for ask in (other.predict_interval, lambda Z, o=other: o.predict(Z, return_std=True)):
            with pytest.raises(ValueError, match="loss='squared'"):
                ask(X_NEW)
    two = KernelBilevelRegressor(alpha=[0.1, 1.0], tune=()).fit(X, np.column_stack([Y, Y]))
    with pytest.raises(ValueError, match="one alpha"):
        two.predict_interval(X_NEW)


def gappy(seed, n):
    """y depends on a column of which a fifth is missing."""
    random = np.random.default_rng(seed)
    Z = random.normal(size=(n, 2))
    y = 2 * np.sin(Z[:, 0]) + Z[:, 1] + 0.2 * random.normal(size=n)
    Z[random.random(n) < 0.2, 0] = np.nan
    return Z, y


def test_rows_with_gaps_have_the_coverage_too(monkeypatch):
    def coverage():
        held = {True: [], False: []}
        for seed in range(6):
            fitted = KernelBilevelRegressor("matern32", max_iter=5).fit(*gappy(seed, 150))
            Z, y = gappy(seed + 100, 300)
            ends = fitted.predict_interval(Z, 0.9)
            inside = (ends[:, 0] <= y) & (y <= ends[:, 1])
            for gap, rows in ((True, np.isnan(Z[:, 0])), (False, ~np.isnan(Z[:, 0]))):
                held[gap].append(inside[rows].mean())
        return np.mean(held[False]), np.mean(held[True])

    complete, with_gaps = coverage()
    assert 0.86 < complete < 0.94 and 0.84 < with_gaps < 0.98
    monkeypatch.setattr(
        KernelBilevelRegressor, "_groups_of",
        lambda self, X, samples, least: [(np.arange(len(X)), np.ones(len(samples), bool))])
    assert coverage()[1] < with_gaps - 0.1


def test_missing_levels_and_numbers_mark_a_row():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "a": random.normal(size=60), "b": random.normal(size=60), "c": random.choice(["x", "y"], 60),
        "d": random.choice(["u", "v"], 60)})
    frame.loc[:9, "b"], frame.loc[5:14, "c"] = np.nan, None
    fitted = KernelBilevelRegressor("matern32", tune=()).fit(frame, random.normal(size=60))
    np.testing.assert_array_equal(fitted._table.with_gaps(fitted.X_fit_), np.arange(60) < 15)


def test_too_few_samples_with_gaps_are_told():
    Z, y = gappy(0, 80)
    Z[np.flatnonzero(np.isnan(Z[:, 0]))[4:], 0] = 0.0  # four are left
    fitted = KernelBilevelRegressor("matern32", tune=()).fit(Z, y)
    with pytest.warns(UserWarning, match="1 rows have missing cells, and fewer than 9 samples"):
        ends = fitted.predict_interval([[np.nan, 0.0], [0.0, 0.0]])
    assert np.isfinite(ends).all()


def test_intervals_of_rows_in_time_are_warned_of():
    model = KernelBilevelRegressor(cv=TimeSeriesSplit(3), max_iter=2).fit(X, Y)
    with pytest.warns(UserWarning, match="order of time"):
        model.predict_interval(X_NEW)


def test_predictions_left_out_need_a_fit():
    with pytest.raises(NotFittedError):
        KernelBilevelRegressor().predict_left_out()
