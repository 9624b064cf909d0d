"""
Criterion against time for several searches
===========================================

Grid, random and hypergradient search over the ridge and the lengthscale of kernel ridge regression,
then a hypergradient search over one lengthscale for each feature, which no grid could cover. Time
is that of the fits, without compilation.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_diabetes
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.preprocessing import scale

from kbo import HypergradientSearchCV, KernelBilevelRegressor
from kbo.inspection import ConvergenceDisplay

X, y = load_diabetes(return_X_y=True)
X, y = scale(X), scale(y)
settings = {"cv": KFold(5), "scoring": "neg_mean_squared_error"}
model = KernelRidge(kernel="rbf")
curves = {}


def elapsed(found):
    """The seconds after which each candidate was done, and its error."""
    each = found["mean_fit_time"] + found["mean_score_time"]
    return 5 * np.cumsum(each), -found["mean_test_score"]


grid = {"alpha": np.geomspace(1e-2, 1e3, 7), "gamma": np.geomspace(1e-4, 1, 9)}
curves["grid, 63 points"] = elapsed(GridSearchCV(model, grid, **settings).fit(X, y).cv_results_)
space = {"alpha": loguniform(1e-2, 1e3), "gamma": loguniform(1e-4, 1)}
drawn = RandomizedSearchCV(model, space, n_iter=60, random_state=0, **settings).fit(X, y)
curves["random, 60 points"] = elapsed(drawn.cv_results_)


def record(step):
    """Append the seconds and the mean squared error, which is twice the loss, to ``trace``."""
    trace.append((time.perf_counter() - started, 2 * step.get("outer_loss", step.get("value"))))


ours = {
    "hypergradient": HypergradientSearchCV(model, space, callback=record, **settings),
    "hypergradient, ARD": KernelBilevelRegressor(
        "gaussian", cv=KFold(5), prior=0.0, callback=record
    ),
}
for name, search in ours.items():
    for _ in range(2):  # the first fit compiles
        trace, started = [], time.perf_counter()
        search.fit(X, y)
    curves[name] = tuple(zip(*trace, strict=True))

display = ConvergenceDisplay(curves, ylabel="best cross-validated MSE so far").plot()
display.ax_.set(xscale="log", title="Diabetes: 5-fold criterion against time")
plt.show()
