"""
Residuals of a tuned model
==========================

kbo's estimators follow scikit-learn's interface, so that its displays work with them. The figure
shows cross-validated predictions of the diabetes data; the hyperparameters for each fold are tuned
on the other folds.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes
from sklearn.metrics import PredictionErrorDisplay, r2_score
from sklearn.model_selection import cross_val_predict

from kbo import KernelBilevelRegressor

X, y = load_diabetes(return_X_y=True)
predicted = cross_val_predict(KernelBilevelRegressor(), X, y, cv=5)

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for kind, ax in zip(("actual_vs_predicted", "residual_vs_predicted"), axes, strict=True):
    PredictionErrorDisplay.from_predictions(
        y, predicted, kind=kind, ax=ax, scatter_kwargs={"alpha": 0.4}
    )
figure.suptitle(f"Diabetes, predictions out of sample: R² = {r2_score(y, predicted):.3f}")
plt.show()
