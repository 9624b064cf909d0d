"""Tuned rivals: random configurations, judged on a fifth of the rows.

The ranges are those of pytabkit 1.8: its spaces "default" of xRFM and "shwartz-ziv" of CatBoost
(after Shwartz-Ziv and Armon 2022).
"""

import numpy as np


def held_out(n):
    """Which rows judge, a fifth of them, and which are fitted."""
    rows = np.random.default_rng(0).permutation(n)
    return rows[: n // 5], rows[n // 5 :]


def log_uniform(draw, low, high):
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))


class TunedCatBoost:
    """The best of some configurations of CatBoost, fitted again on all rows."""

    def __init__(self, count):
        self.count = count

    def fit(self, X, y):
        judge, fit = held_out(len(X))
        models = [self._drawn(seed) for seed in range(self.count)]
        errors = [
            np.mean((model.fit(X[fit], y[fit]).predict(X[judge]) - y[judge]) ** 2)
            for model in models
        ]
        self.best_ = self._drawn(int(np.argmin(errors))).fit(X, y)
        return self

    def predict(self, X):
        return self.best_.predict(X)

    def _drawn(self, seed):
        from catboost import CatBoostRegressor

        draw = np.random.default_rng(seed)
        return CatBoostRegressor(
            n_estimators=1000, max_depth=6, learning_rate=log_uniform(draw, np.exp(-5), 1.0),
            random_strength=int(draw.integers(1, 21)), l2_leaf_reg=log_uniform(draw, 1, 10),
            bagging_temperature=float(draw.uniform()),
            leaf_estimation_iterations=int(draw.integers(1, 21)), random_seed=0,
            verbose=False, allow_writing_files=False,
        )


class XRFM:
    """xRFM on arrays, in float32, with a fifth of the rows to validate: as it comes, or the best of
    some configurations.
    """

    def __init__(self, count=0):
        self.count = count

    def fit(self, X, y):
        import torch

        judge, fit = held_out(len(X))
        tensor = lambda part: torch.tensor(part, dtype=torch.float32)
        data = [tensor(v) for v in (X[fit], y[fit, None], X[judge], y[judge, None])]
        lowest = np.inf
        for params in map(self._drawn, range(self.count)) if self.count else [{}]:
            machine = self._machine(params)
            machine.fit(*data)
            error = np.mean((self._values(machine, X[judge]) - y[judge]) ** 2)
            if error < lowest:
                lowest, self.best_ = error, machine
        return self

    def predict(self, X):
        return self._values(self.best_, X)

    def _drawn(self, seed):
        draw = np.random.default_rng(seed)
        exponent, between = draw.uniform(0.7, 1.4), draw.uniform(0, 0.8)
        model = {
            "bandwidth": log_uniform(draw, 0.5, 200), "exponent": exponent,
            "norm_p": exponent + (2 - exponent) * between, "diag": bool(draw.integers(2)),
            "kernel": "l2" if draw.uniform() < 0.2 else "lpq", "bandwidth_mode": "constant",
        }
        fit = {"reg": log_uniform(draw, 1e-6, 10), "iters": 5, "early_stop_rfm": True,
               "early_stop_multiplier": 1.1, "M_batch_size": 512}
        return {"rfm_params": {"model": model, "fit": fit}}

    def _machine(self, params):
        import torch
        from xrfm import xRFM

        torch.manual_seed(0)
        return xRFM(device=torch.device("cpu"), tuning_metric="mse", verbose=False, **params)

    def _values(self, machine, X):
        import torch

        return np.asarray(machine.predict(torch.tensor(X, dtype=torch.float32)), float).ravel()
