"""Values that end at the end of their range: said by name, and the range moves where it is ours."""

import time
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from kbo import KernelBilevelClassifier, KernelBilevelRegressor
from kbo.estimators.kernel import model as _model


def conditions(run):
    """The texts of ConvergenceWarnings, and what ``run`` returned."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = run()
    own = [w for w in seen if issubclass(w.category, ConvergenceWarning)]
    assert all(w.filename == __file__ for w in own), own  # they point at the user's line
    return [str(w.message) for w in own], result


@pytest.mark.parametrize("truth", [lambda x: 3 * x, lambda x: np.sin(3 * x)])
def test_alpha_at_its_bound_is_said_with_the_remedy(truth):
    x = np.random.default_rng(0).uniform(-1, 1, size=(40, 1))
    texts, model = conditions(lambda: KernelBilevelRegressor("matern32").fit(x, truth(x[:, 0])))
    assert model.alpha_ < 1.01e-6  # the bound moves as far as the system can be solved
    assert model.criterion_ < 1e-6
    (text,) = texts
    assert "alpha is at the lower end of its range, 1e-0" in text and "alpha=" in text
    assert model.status_ == "CONVERGED"


def test_a_lengthscale_that_starts_far_off_is_found_and_irrelevant_ones_are_not_warned_of():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=100)
    texts, near = conditions(lambda: KernelBilevelRegressor("matern32").fit(X, y))
    assert not texts
    assert near.lengthscale_[1:].min() > 5 * near.lengthscale_[0]
    # Held to a range of a factor of 2, the one that matters is at its end until that moves.
    one = KernelBilevelRegressor("matern32", ard=False, criterion="marginal_likelihood")
    start = 6.0 * one.fit(X[:, :1], y).lengthscale_[0]
    narrow = pytest.MonkeyPatch()
    narrow.setattr(_model, "LOG_RANGE", np.log(2.0))
    try:
        fit = lambda: clone(one).set_params(lengthscale=start).fit(X[:, :1], y)
        texts, moved = conditions(fit)
        assert not texts
        assert moved.lengthscale_[0] < start / 2.5
    finally:
        narrow.undo()


def test_what_max_time_cost_is_said():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    fit = lambda **options: KernelBilevelRegressor(**options).fit(X, X[:, 0])
    texts, model = conditions(lambda: fit(max_time=1e-9))
    (text,) = texts
    assert "nothing was tuned" in text and "Raise max_time" in text
    assert model.status_ == "STOPPED" and model.n_evaluations_ == 1
    texts, _ = conditions(lambda: fit(callback=lambda step: True))
    assert not texts  # the user knows
    texts, _ = conditions(lambda: fit(max_time=600, max_iter=100))
    assert not any("max_time" in text for text in texts)


@pytest.mark.parametrize(("model", "classes"), [
    (KernelBilevelRegressor("gaussian", ard=False), False),
    pytest.param(KernelBilevelRegressor(cv=7), False, marks=pytest.mark.slow),
    pytest.param(KernelBilevelRegressor(criterion="gcv"), False, marks=pytest.mark.slow),
    pytest.param(KernelBilevelClassifier(loss="squared"), True, marks=pytest.mark.slow),
])
def test_many_samples_and_little_time_are_tuned_on_some_of_them(model, classes, monkeypatch):
    from kbo.estimators.kernel import searching as _searching

    monkeypatch.setattr(_searching, "PART", 60)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=300)
    target = y > 0 if classes else y
    whole = clone(model).fit(X, target)
    # Time enough: the part is where the search of the whole begins.
    texts, long = conditions(lambda: clone(model).set_params(max_time=600).fit(X, target))
    assert not texts
    assert long.score(X, target) > whole.score(X, target) - 0.02
    assert long.status_ == "CONVERGED" and len(long.X_fit_) == 300
    # Too little: the part is all, and that is said.
    monkeypatch.setattr(_searching.Searching, "_time_left", lambda self: 0.0)
    texts, short = conditions(lambda: clone(model).set_params(max_time=9).fit(X, target))
    (text,) = texts
    assert "max_time=9" in text and "nothing was tuned" in text
    assert short.status_ == "STOPPED" and len(short.X_fit_) == 300
    assert short.n_evaluations_ == 1


def test_a_part_that_leaves_a_fold_empty_is_not_taken(monkeypatch):
    from kbo.estimators.kernel import searching as _searching

    monkeypatch.setattr(_searching, "PART", 20)
    X = np.random.default_rng(0).normal(size=(60, 1))
    folds = [(np.arange(40), [41]), (np.arange(20, 60), [7])]
    model = KernelBilevelRegressor(max_time=60, cv=folds, max_iter=2).fit(X, X[:, 0])
    assert model.n_splits_ == 2 and model.status_ != "STOPPED"


def test_a_long_silence_is_broken_once(monkeypatch, capsys):
    from kbo.estimators.kernel import reporting

    monkeypatch.setattr(reporting, "PATIENCE", 0.05)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    slow = lambda step: time.sleep(0.1)
    KernelBilevelRegressor(max_iter=3, callback=slow, cv=3).fit(X, X[:, 0])
    said = capsys.readouterr().err
    assert said.count("has tuned for") == 1
    assert "60 samples" in said and "max_time" in said and "nystrom" in said
    KernelBilevelRegressor(max_iter=3, callback=slow, max_time=60).fit(X, X[:, 0])
    monkeypatch.setattr(reporting, "PATIENCE", 30.0)
    KernelBilevelRegressor(max_iter=3).fit(X, X[:, 0])
    assert not capsys.readouterr().err
