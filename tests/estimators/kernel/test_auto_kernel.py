"""kernel="auto": the mixture of transformed features, and the samples that tune it."""

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold

import kbo
from kbo import KernelBilevelRegressor, inspection
from kbo.estimators._common import start
from kbo.estimators._common.start import lengthscale_of
from kbo.estimators.kernel import fit as fitting
from kbo.estimators.kernel.tuning import is_scaled
from kbo.kernels import Gaussian, Laplacian, Linear, Matern32, Scaled, Sum, Warped

rng = np.random.default_rng(0)
X = rng.normal(size=(150, 3))
Y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=150)


def error(model, A, y):
    return np.sqrt(np.mean((model.predict(A) - y) ** 2))


def test_it_is_a_mixture_where_the_likelihood_tunes_it_and_plain_elsewhere():
    kernel = KernelBilevelRegressor(max_iter=2).fit(X, Y).kernel_
    assert isinstance(kernel, Warped) and isinstance(kernel.kernel, Sum)
    assert isinstance(kernel.kernel.left, Matern32)
    assert isinstance(kernel.kernel.right, Scaled) and isinstance(kernel.kernel.right.kernel, Laplacian)
    weight = np.where(np.arange(150) < 75, 1.0, 2.0)
    for options, more in [
        ({"cv": KFold(3)}, {}), ({"criterion": "loo"}, {}), ({"loss": "huber"}, {}),
        ({"solver": "nystrom"}, {}), ({"groups": [0, 0, 1]}, {}), ({"standard_errors": True}, {}),
        ({"outer_loss": "huber"}, {}), ({}, {"sample_weight": weight}),
        ({}, {"groups": np.arange(150) // 10}),
    ]:
        other = KernelBilevelRegressor(max_iter=1, **options).fit(X, Y, **more)
        kernels = jax.tree.leaves(other.kernel_, is_leaf=lambda node: isinstance(node, Matern32))
        assert any(isinstance(part, Matern32) for part in kernels), options
        assert not isinstance(other.kernel_, Warped), options
    both = KernelBilevelRegressor(criterion="marginal_likelihood", max_iter=2).fit(X, Y)
    assert isinstance(both.kernel_, Warped) and not hasattr(both, "kept_")


def test_curves_are_found_where_a_target_depends_on_a_logarithm():
    draw = np.random.default_rng(2)

    def sample(n):
        A = np.exp(1.5 * draw.normal(size=(n, 2)))
        return A, np.sin(np.log(A[:, 0]) / 0.75) + 0.05 * draw.normal(size=n)

    (A, y), test = sample(200), sample(500)
    model = KernelBilevelRegressor().fit(A, y)
    assert model.kept_ == "marginal likelihood"
    assert model.kernel_.skew[0] < 0.7
    plain = KernelBilevelRegressor("matern32").fit(A, y)
    assert error(model, *test) < 0.7 * error(plain, *test)
    held = KernelBilevelRegressor(tune=("alpha", "lengthscale", "scale")).fit(A, y)
    np.testing.assert_array_equal(held.kernel_.skew, 1.0)


def test_steps_in_single_features_are_the_rough_kernels():
    draw = np.random.default_rng(2)
    sample = lambda n: (A := draw.normal(size=(n, 6)), np.sign(A).sum(1))
    (A, y), test = sample(300), sample(500)
    model = KernelBilevelRegressor().fit(A, y)
    smooth = KernelBilevelRegressor("matern32").fit(A, y)
    assert error(model, *test) < 0.9 * error(smooth, *test)


def test_the_likelihood_is_of_some_samples_and_the_fit_of_all(monkeypatch):
    monkeypatch.setattr(fitting, "SEEN", 60)
    model = KernelBilevelRegressor(random_state=3).fit(X, Y)
    assert model.n_tuned_ == 60 and model.X_fit_.shape == (150, 3)
    again = KernelBilevelRegressor(random_state=3).fit(X, Y)
    np.testing.assert_array_equal(again.dual_coef_, model.dual_coef_)
    rows = fitting.some_rows(60, np.ones(150), np.random.RandomState(3).randint(2**31))
    assert len(np.unique(rows)) == 60
    by_hand = KernelBilevelRegressor(
        model.kernel_, alpha=model.alpha_, tune=()
    ).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), by_hand.predict(X), rtol=1e-9)
    # Targets that change places leave the offset alone: only those of drawn rows are seen.
    for places, seen in ((np.setdiff1d(np.arange(150), rows)[:20], False), (rows[:20], True)):
        swapped = Y.copy()
        swapped[places] = Y[places[::-1]]
        other = KernelBilevelRegressor(random_state=3).fit(X, swapped)
        assert (abs(np.log(other.alpha_ / model.alpha_)) > 1e-3) == seen
    assert KernelBilevelRegressor(cv=3, max_iter=1).fit(X, Y).n_tuned_ == 150


def test_few_centres_are_tuned_by_the_exact_likelihood():
    model = KernelBilevelRegressor(n_centers=20).fit(X, Y)
    assert model.solver_.startswith("Nystrom") and model.X_fit_.shape == (20, 3)
    exact = KernelBilevelRegressor().fit(X, Y)
    assert (model.alpha_, model.criterion_) == (exact.alpha_, exact.criterion_)
    np.testing.assert_array_equal(model.lengthscale_, exact.lengthscale_)


def test_many_samples_are_tuned_on_some_of_them_whatever_the_solver():
    draw = np.random.default_rng(0)
    A = draw.normal(size=(3200, 2))
    y = np.sin(2 * A[:, 0]) + 0.1 * draw.normal(size=3200)
    model = KernelBilevelRegressor(max_iter=3).fit(A, y)
    assert model.n_tuned_ == fitting.SEEN == 2000
    assert model.solver_.startswith("Nystrom") and len(model.X_fit_) < 3200
    assert model.score(A, y) > 0.97
    assert model.noise_ == pytest.approx(0.1, rel=0.1)


def test_the_lengthscale_of_a_mixture_is_the_weighted_harmonic_mean():
    a, b = np.array([1.0, 4.0]), np.array([3.0, np.inf])
    mixed = Gaussian(a) * 2.0 + Laplacian(b) * 0.5
    found = lengthscale_of(Warped(mixed, np.zeros(2), np.ones(2), np.ones(2)))
    np.testing.assert_allclose(found, [2.5 / (2 / 1 + 0.5 / 3), 2.5 / (2 / 4)])
    assert lengthscale_of(Gaussian(a)) is a
    assert lengthscale_of(Gaussian(a) + kbo.kernels.as_kernel(lambda x, z: 1.0)) is None
    model = KernelBilevelRegressor(max_iter=2).fit(X, Y)
    assert model.lengthscale_.shape == (3,)


def test_relevance_is_the_change_of_h_in_units_of_the_largest():
    lengths = np.array([50.0, 100.0, np.inf])
    model = KernelBilevelRegressor(Matern32(lengths), tune=()).fit(X, Y)
    names, values = inspection.relevance(model)
    expected = X.std(0) / lengths  # where lengthscales are long
    order = np.argsort(-expected)
    assert list(names) == [f"x{k}" for k in order]
    np.testing.assert_allclose(values, expected[order] / expected.max(), rtol=0.02)
    kernel = Matern32(np.array([1.0, 2.0, 3.0])) * 0.7 + Linear(np.array([4.0, 1.0, 2.0]))
    model = KernelBilevelRegressor(kernel, tune=()).fit(X, Y)
    values = dict(zip(*inspection.relevance(model), strict=True))
    with jax.enable_x64(True):
        k = lambda a, b: float(model.kernel_.evaluate(jax.numpy.asarray(a), jax.numpy.asarray(b)))
        m, s = X.mean(0), X.std(0)
        to = [m + s * (np.arange(3) == j) for j in range(3)]
        change = np.sqrt([k(m, m) - 2 * k(m, z) + k(z, z) for z in to])
    np.testing.assert_allclose([values[f"x{j}"] for j in range(3)], change / change.max(), rtol=1e-6)


def test_which_kernels_alpha_could_scale_as_well():
    one = Gaussian(1.0)
    assert is_scaled(2.0 * one + 3.0 * one) and is_scaled(one * (2.0 * one))
    assert is_scaled(Warped(2.0 * one, 0.0, 1.0, 1.0))
    assert not is_scaled(one + 3.0 * one) and not is_scaled(one)


def rough(fit):
    return fit.kernel_.kernel.right.kernel


def test_levels_are_known_to_the_kernel_and_change_no_fit(monkeypatch):
    letters = np.array(list("abcdefgh"))[rng.integers(8, size=150)]
    frame = pd.DataFrame({"level": letters, "first": X[:, 0], "second": X[:, 1]})
    target = Y + (letters == "a")
    fits = [KernelBilevelRegressor(max_iter=5).fit(frame, target)]
    monkeypatch.setattr(start, "bucket_of_columns", lambda count: None)
    fits.append(KernelBilevelRegressor(max_iter=5).fit(frame, target))
    numbers = [rough(fit).numbers for fit in fits]
    assert numbers == [2, None]
    np.testing.assert_allclose(*(fit.predict(frame) for fit in fits), rtol=1e-8)
    assert rough(KernelBilevelRegressor(tune=()).fit(X, Y)).numbers is None
