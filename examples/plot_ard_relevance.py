"""
Which features matter
=====================

Each feature has its own lengthscale, and all are tuned together by hypergradient. A long
lengthscale means that the model hardly depends on the feature. Three columns of noise are added to
the ten of the diabetes data. With only 442 samples, not every column of noise can be told from the
real features: a relevance is an estimate.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from kbo import KernelBilevelRegressor
from kbo.inspection import RelevanceDisplay, report

data = load_diabetes()
noise = np.random.default_rng(0).normal(size=(len(data.data), 3))
X, y = np.hstack([scale(data.data), noise]), data.target
names = [*data.feature_names, *[f"noise {k}" for k in range(3)]]

model = KernelBilevelRegressor(cv=10, random_state=0).fit(X, y)
print(report(model, names))

# %%
# Each bar says how much the prediction may change when one feature moves by its standard deviation,
# relative to the largest (``kbo.inspection.relevance`` has the formula).
display = RelevanceDisplay.from_estimator(model, names=names)
for bar, name in zip(display.ax_.patches, display.names[::-1], strict=True):
    bar.set_color("C1" if name.startswith("noise") else "C0")
display.ax_.set_title("Diabetes: relevance (orange: columns of noise)")
plt.show()
