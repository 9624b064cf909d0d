"""
How predictions change with one feature, and how sure that is
=============================================================

``EffectDisplay`` shows the mean prediction over a table when one column is set to a value for all
rows (partial dependence, Friedman 2001), with a band of two standard deviations under the Gaussian
process of the tuned model. The data are 442 diabetes patients; the target is how far the disease
has progressed after a year. Efron, Hastie, Johnstone, Tibshirani (2004), whose data these are, let
bmi and s5 enter a linear model first; a curve may say more than a slope. The share of the variance
that the model explains is printed beside that of a linear model.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score

from kbo import KernelBilevelRegressor
from kbo.inspection import EffectDisplay

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X["sex"] = X["sex"].map({1.0: "one", 2.0: "two"})
model = KernelBilevelRegressor(random_state=0).fit(X, y)
numbers = X.assign(sex=X["sex"] == "two").astype(float)
ours = cross_val_score(KernelBilevelRegressor(random_state=0), X, y, cv=3)
line = cross_val_score(RidgeCV([0.01, 0.1, 1, 10]), numbers, y, cv=3)
print(f"R² out of sample: {ours.mean():.3f}, linear {line.mean():.3f}")

display = EffectDisplay.from_estimator(model, X, features=["bmi", "s5", "bp", "sex"])
names = ["body mass index", "log triglycerides (s5)", "blood pressure", "sex"]
low = min(panel.get_ylim()[0] for panel in display.ax_)
high = max(panel.get_ylim()[1] for panel in display.ax_)
for panel, name in zip(display.ax_, names, strict=True):
    panel.set(xlabel=name, ylim=(low, high))
display.ax_[0].set_ylabel("mean predicted progression")
display.figure_.set_size_inches(11, 3.4)
plt.show()
