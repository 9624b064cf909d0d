"""Errors left out, by which the command judges a tuned model."""

from types import SimpleNamespace

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import KFold

from kbo.cli import build_parser
from kbo.cli._check import _log_loss, errors_left_out
from kbo.cli._rows import Independent
from kbo.cli._tune import _affordable
from kbo.estimators import KernelBilevelRegressor


def test_the_table_warns_where_tuning_lost_on_the_test_rows(capsys):
    from kbo.cli import _tune

    row = {"criterion": 1.0, "seconds": 0.1, "alpha": 0.1}
    report = {
        "metric": "R2", "test_error": "RMSE", "error_kind": "MSE", "seconds": 0.2, "compile_seconds": 0.1, "errors_left_out": None,
        "power_errors": {}, "power": 1.0,
        "kept": "tuned by kbo", "without_features": {"score": 0.0, "error": 1.0},
        "models": {"start": row | {"score": 0.5}, "tuned by kbo": row | {"score": 0.4}},
    }
    args = build_parser().parse_args(["tune"])
    for worse in (True, False):
        _tune._print(args, report | {"worse_on_test_rows": worse}, "", drawn=False)
        assert ("tuned model has larger errors" in capsys.readouterr().err) == worse


def test_a_difference_that_chance_explains_is_none():
    from kbo.cli import _tune

    X = np.linspace(0, 1, 200)[:, None]
    noise = np.random.default_rng(0).normal(size=200)

    class Constant(RegressorMixin, BaseEstimator):
        loss = "squared"

        def __init__(self, value):
            self.value = value

        def predict(self, X):
            return np.full(len(X), self.value)

    for value, worse in ((0.02, False), (1.0, True), (-1.0, True)):
        models = {"start": Constant(noise.mean()), "tuned by kbo": Constant(noise.mean() + value)}
        assert _tune._worse(models, (X, noise)) == worse


def test_errors_left_out_are_those_of_kernel_ridge():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    fixed = dict(kernel="gaussian", lengthscale=1.0, ard=False, tune=())
    models = {f"{a}": KernelBilevelRegressor(alpha=a, **fixed) for a in (0.1, 3.0)}
    for seconds, repeats in ((0.0, 1), (1e3, 3)):
        found = errors_left_out(models, X, y, 4, Independent(), seconds)
        for alpha, error in found.items():
            total = 0.0
            for seed in range(5, 5 + repeats):
                for train, test in KFold(5, shuffle=True, random_state=seed).split(X):
                    ridge = KernelRidge(alpha=float(alpha), kernel="rbf", gamma=0.5)
                    mean = y[train].mean()
                    ridge.fit(X[train], y[train] - mean)
                    total += ((ridge.predict(X[test]) + mean - y[test]) ** 2).sum()
            np.testing.assert_allclose(error, total / (40 * repeats), rtol=1e-6)


def test_classes_are_judged_by_their_probabilities():
    class Known:
        classes_ = np.array(["a", "b"])

        def predict_proba(self, X):
            return np.tile([0.25, 0.75], (len(X), 1))

    losses = _log_loss(Known(), np.zeros((3, 1)), np.array(["a", "b", "new"]))
    np.testing.assert_allclose(losses, -np.log([0.25, 0.75, 1e-6]))


def test_long_checks_are_left_out_unless_asked_for(capsys):
    args = build_parser().parse_args(["tune"])
    # Ten evaluations, of which the search that is kept had five after its first.
    took = lambda seconds: SimpleNamespace(n_evaluations_=10, history_=[
        {"seconds": 40.0, "evaluations": 1}, {"seconds": 40.0 + seconds / 2, "evaluations": 6},
    ])
    assert _affordable(args, took(1.0), 30.0) and not _affordable(args, took(100.0), 30.0)
    assert "--check does so, and takes about 500 s" in capsys.readouterr().err
    assert _affordable(build_parser().parse_args(["tune", "--check"]), took(100.0), 30.0)
