"""
How sure is a tuned hyperparameter?
===================================

A relevance without an error bar says little. ``standard_errors=True`` adds the standard error of
the criterion, over its folds, and that of the logarithm of each tuned number, from the Hessian of
the criterion. Features whose error spans orders of magnitude are not determined by the data.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from kbo import KernelBilevelRegressor

data = load_diabetes()
X, y = scale(data.data), scale(data.target)
model = KernelBilevelRegressor("gaussian", cv=10, prior=0.0, standard_errors=True).fit(X, y)
errors = model.standard_errors_
print(f"criterion {model.criterion_:.4f} ± {errors['criterion']:.4f}")

# %%
# Lengthscales that the criterion does not determine have an infinite error; they are drawn in grey.
log_error = errors["lengthscale"]
known = np.isfinite(log_error)
order = np.argsort(model.lengthscale_)
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for height, k in enumerate(order[::-1]):
    centre, color = model.lengthscale_[k], "C0" if known[k] else "0.7"
    if known[k]:
        ends = centre * np.exp(np.array([-1, 1]) * min(log_error[k], 5.0))
        ax.plot(ends, [height, height], color=color)
    ax.plot(centre, height, "o", color=color)
ax.set_yticks(range(len(order)), np.array(data.feature_names)[order[::-1]])
ax.set(xscale="log", xlabel="lengthscale (standard deviations), ± one standard error",
       title="Diabetes: which lengthscales are known")
plt.show()
