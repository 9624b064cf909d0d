"""The end of a search is kept only where it predicts rows that it has not seen."""

import jax
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold

from kbo import KernelBilevelClassifier, KernelBilevelRegressor
from kbo.estimators.kernel import searching, second_opinion
from kbo.parameters import Tunable, named_numbers

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4))
PLAIN = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=120)
# Rare large values that no feature explains: the marginal likelihood follows them.
HEAVY = np.exp(2.5 * rng.normal(size=120)) + X[:, 1]
NAMES = Tunable.of(KernelBilevelRegressor(tune=()).fit(X, HEAVY).kernel_).names()


def test_where_one_feature_matters_the_likelihood_is_kept_without_a_second_search(monkeypatch):
    monkeypatch.setattr(
        second_opinion.SecondOpinion, "_search_leaving_out", lambda *_: pytest.fail("a second search")
    )
    many = np.random.default_rng(1).normal(size=(150, 10))
    model = KernelBilevelRegressor().fit(many, np.sin(2 * many[:, 0]))
    assert model.kept_ in ("marginal likelihood", "no curves")
    assert model.criterion_ <= model.history_[0]["value"]


ENDS = ["common lengthscale", "no curves", "marginal likelihood", "leave-one-out"]


@pytest.mark.parametrize("kept", ENDS)
def test_the_end_with_the_lowest_price_is_kept(monkeypatch, kept):
    seen = {}

    def price(name, omega):
        seen[name] = omega
        return 1.0 + (name != kept)

    monkeypatch.setattr(second_opinion.SecondOpinion, "_price", lambda *_: price)
    monkeypatch.setattr(second_opinion, "OWN_PAY", 0.0)
    model = KernelBilevelRegressor().fit(X, HEAVY)
    assert model.kept_ == kept
    assert list(seen) == ENDS
    start = KernelBilevelRegressor(tune=()).fit(X, HEAVY)
    for name in ("lengthscale", "skew"):
        logs = [np.log(b / a) for a, b in zip(*(
            [v for n, v in named_numbers(m.kernel_) if n == name] for m in (start, model)
        ), strict=True)]
        places = [k for k, n in enumerate(NAMES) if n == name]
        for place, log in zip(places, logs, strict=True):
            np.testing.assert_allclose(log, seen[kept]["kernel"][place], rtol=1e-6, atol=1e-12)
            if name == "skew" and kept in ("common lengthscale", "no curves"):
                assert not log.any()
            if name == "lengthscale" and kept in ("common lengthscale", "leave-one-out"):
                assert np.ptp(log) < 1e-9
    assert model.history_[-1]["value"] == pytest.approx(model.criterion_, rel=1e-12)
    if kept == "leave-one-out":
        assert model.criterion_ > 0  # a mean loss, not a log-likelihood
    assert model.criterion_ <= model.criterion_start_


def test_the_price_is_the_mean_loss_of_rows_left_out_raised_for_each_number(monkeypatch):
    prices, real = {}, second_opinion.SecondOpinion._price

    def spy(self, *given):
        price = real(self, *given)
        return lambda name, omega: prices.setdefault(name, price(name, omega))

    monkeypatch.setattr(second_opinion.SecondOpinion, "_price", spy)
    model = KernelBilevelRegressor().fit(X, HEAVY)
    with jax.enable_x64(True):
        gram = np.asarray(model.kernel_.matrix(model.X_fit_, model.X_fit_))
    inverse = np.linalg.inv(gram + model.alpha_ * np.eye(len(X)))
    dual = inverse @ (HEAVY - model.intercept_)
    alone = np.mean((dual / inverse.diagonal()) ** 2)
    folds = [test for seed in second_opinion.SEEDS
             for _, test in KFold(5, shuffle=True, random_state=seed).split(X)]
    left = [np.linalg.solve(inverse[np.ix_(test, test)], dual[test]) for test in folds]
    loss = 0.25 * (alone + np.mean([np.mean(rest**2) for rest in left]))
    assert min(prices, key=prices.get) == model.kept_
    assert prices[model.kept_] == pytest.approx(
        loss * np.exp(second_opinion.PRICE * model.n_parameters_ / len(X)), rel=1e-6
    )


def test_the_end_by_leaving_out_has_the_lowest_loss_of_rows_left_out():
    options = {"kernel": "matern32", "ard": False, "prior": 0.0}
    model = KernelBilevelRegressor(**options).fit(X, PLAIN)
    alone = KernelBilevelRegressor(**options, criterion="loo").fit(X, PLAIN)
    assert model.kept_ == "leave-one-out"
    assert model.criterion_ == pytest.approx(alone.criterion_, rel=1e-3)


def test_outliers_that_mislead_the_likelihood_do_not_mislead_the_default():
    draw = np.random.default_rng(0)

    def sample(k):
        A = draw.normal(size=(k, 4))
        return A, 3 * A[:, 0] + np.where(draw.random(k) < 0.02, 30.0, 0.0)

    (A, y), (B, y_new) = sample(150), sample(600)
    loss = lambda model: np.mean((model.fit(A, y).predict(B) - y_new) ** 2)
    default = KernelBilevelRegressor()
    alone = loss(KernelBilevelRegressor(criterion="marginal_likelihood"))
    assert loss(default) < 0.75 * alone
    assert default.kept_ == "leave-one-out"


def test_only_the_default_criterion_has_a_second_opinion():
    other = KernelBilevelRegressor(criterion="marginal_likelihood").fit(X, HEAVY)
    assert not hasattr(other, "kept_")
    assert not hasattr(KernelBilevelRegressor(cv=KFold(3)).fit(X, HEAVY), "kept_")


def test_two_searches_have_two_checkpoints(tmp_path):
    path = tmp_path / "fit"
    model = KernelBilevelRegressor(ard=False, checkpoint=path).fit(X, HEAVY)
    assert {file.name for file in tmp_path.iterdir()} >= {"fit", "fit.loo"}
    again = KernelBilevelRegressor(ard=False, checkpoint=path).fit(X, HEAVY)
    np.testing.assert_array_equal(again.dual_coef_, model.dual_coef_)


def test_a_stopped_search_is_not_followed_by_another():
    seen = []
    model = KernelBilevelRegressor(ard=False, callback=lambda entry: seen.append(entry) or True)
    model.fit(X, HEAVY)
    assert model.kept_ == "marginal likelihood"
    assert len(seen) == 1


LABELS = {"classifier": (PLAIN > 0).astype(int), "regressor": PLAIN}
BY_FOLDS = {
    "classifier": lambda **options: KernelBilevelClassifier(**options),
    "regressor": lambda **options: KernelBilevelRegressor(loss="huber", **options),
}


@pytest.mark.parametrize("kind", BY_FOLDS)
@pytest.mark.parametrize(("losses", "kept"), [
    ([1.0, 0.98], "common lengthscale"), ([1.0, 0.96], "own lengthscales"),
])
def test_a_search_by_folds_has_a_second_opinion_too(monkeypatch, kind, losses, kept):
    given = iter(losses)
    monkeypatch.setattr(second_opinion, "cv_loss", lambda *_: next(given))
    model = BY_FOLDS[kind](max_iter=10).fit(X, LABELS[kind])
    assert model.kept_ == kept
    factors = np.log(model.lengthscale_ / BY_FOLDS[kind](tune=()).fit(X, LABELS[kind]).lengthscale_)
    assert (np.ptp(factors) < 1e-9) == (kept == "common lengthscale")


@pytest.mark.parametrize("options", [
    {"ard": False}, {"cv": KFold(3)}, {"criterion": "cv"}, {"standard_errors": True},
])
@pytest.mark.parametrize("kind", BY_FOLDS)
def test_where_there_is_nothing_to_compare_nothing_is_kept(kind, options):
    model = BY_FOLDS[kind](max_iter=2, **options).fit(X, LABELS[kind])
    assert not hasattr(model, "kept_")


def test_groups_of_samples_are_not_split_by_the_second_opinion(monkeypatch):
    groups, seen = np.arange(120) // 4, []
    real = second_opinion.cv_loss
    monkeypatch.setattr(
        second_opinion, "cv_loss", lambda *given: (seen.append(given[-1]), real(*given))[1]
    )
    model = KernelBilevelClassifier(max_iter=3).fit(X, LABELS["classifier"], groups=groups)
    assert model.kept_ in ("common lengthscale", "own lengthscales")
    assert all((given == groups).all() for given in seen)
    assert len(seen) == 2


def test_a_loss_below_zero_is_lower_by_its_size(monkeypatch):
    """0.97 of a negative loss is higher than it."""
    given = iter([-1.0, -1.01])
    monkeypatch.setattr(second_opinion, "cv_loss", lambda *_: next(given))
    model = KernelBilevelRegressor(loss="poisson", max_iter=3).fit(X, np.exp(PLAIN))
    assert model.kept_ == "common lengthscale"


def test_with_little_time_what_is_kept_is_of_the_search_that_ended(monkeypatch):
    monkeypatch.setattr(searching, "PART", 50)
    model = KernelBilevelClassifier(max_time=600.0, max_iter=10).fit(X, LABELS["classifier"])
    assert not hasattr(model, "kept_")  # the search of all samples has no stages
    assert model.history_[-1]["value"] == model.criterion_
    assert model.history_[-1]["alpha"] == model.alpha_


def test_where_time_is_up_a_part_is_judged(monkeypatch):
    monkeypatch.setattr(searching, "PART", 50)
    judged = []

    def loss(task, *_):
        judged.append(len(task.X))
        return 1.0

    for module in (second_opinion, searching):
        monkeypatch.setattr(module, "cv_loss", loss)
    with pytest.warns(ConvergenceWarning, match="leaves no time to evaluate"):
        KernelBilevelClassifier(max_time=1e-9).fit(X, LABELS["classifier"])
    assert set(judged) == {50}
