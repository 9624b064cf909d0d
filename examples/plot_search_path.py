"""
The path of a hypergradient search
==================================

Kernel ridge regression on the diabetes data has two hyperparameters. A grid search tries 63 points,
wherever they lie; a search along the hypergradient descends the valley of the cross-validated loss.
Both have the same ranges, splits and scoring.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

from kbo import HypergradientSearchCV
from kbo.inspection import SearchPathDisplay

X, y = load_diabetes(return_X_y=True)
X, y = scale(X), scale(y)
grid = {"alpha": np.geomspace(1e-2, 1e3, 7), "gamma": np.geomspace(1e-4, 1, 9)}
settings = {"cv": 5, "scoring": "neg_mean_squared_error"}

# %%
# Only the class changes. Lists of values are read as ranges.
theirs = GridSearchCV(KernelRidge(kernel="rbf"), grid, **settings).fit(X, y)
ours = HypergradientSearchCV(KernelRidge(kernel="rbf"), grid, **settings).fit(X, y)
print(f"grid    {-theirs.best_score_:.4f} after {len(theirs.cv_results_['params'])} points")
print(f"search  {-ours.best_score_:.4f} after {ours.n_evaluations_} hypergradients")

# %%
# The surface is the outer loss itself, half the mean squared error over the folds.
display = SearchPathDisplay.from_estimator(ours, X, y, grid=theirs.cv_results_)
display.ax_.set_title("Cross-validated loss of kernel ridge regression, diabetes")
plt.show()
