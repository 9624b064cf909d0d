"""
A ridge for each group of features
==================================

Main effects and interactions seldom deserve the same penalty. This is a linear regression on the
ten features of the diabetes data and their 55 products. With ``groups=``, each of the two sets has
its own ridge, and both ridges are tuned by hypergradient.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold, cross_val_score
from sklearn.preprocessing import PolynomialFeatures, scale

from kbo import KernelBilevelRegressor

X, y = load_diabetes(return_X_y=True)
expansion = PolynomialFeatures(2, include_bias=False).fit(X)
groups = np.where(expansion.powers_.sum(1) == 1, "main effects", "interactions")
X = scale(expansion.transform(scale(X)))
settings = {"kernel": "linear", "ard": False, "lengthscale": 1.0}
models = {
    "one ridge": KernelBilevelRegressor(**settings, tune="alpha"),
    "one for each group": KernelBilevelRegressor(
        **settings, groups=groups, tune=("alpha", "scale")
    ),
}
folds = KFold(10, shuffle=True, random_state=0)
scores = {name: cross_val_score(model, X, y, cv=folds) for name, model in models.items()}
for name, score in scores.items():
    print(f"R², {name}: {score.mean():.4f}")

# %%
grouped = models["one for each group"].fit(X, y)
figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
ax.bar(np.unique(groups), grouped.group_alpha_)
ax.set(yscale="log", ylabel="tuned ridge",
       title="\n".join(f"R² {score.mean():.3f}: {name}" for name, score in scores.items()))
plt.show()
