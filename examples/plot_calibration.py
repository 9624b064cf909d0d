"""
Calibrated probabilities
========================

``KernelBilevelClassifier(loss="squared")`` regresses on ±1 codes. Together with the kernel and the
ridge it tunes the scale of the scores under the logistic likelihood. Its probabilities are
therefore calibrated without a further step; those of a support vector machine need one.
"""

import matplotlib.pyplot as plt
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from kbo import KernelBilevelClassifier

X, y = load_breast_cancer(return_X_y=True)
models = {
    "kbo, squared": KernelBilevelClassifier(loss="squared", ard=False),
    "kbo, logistic": KernelBilevelClassifier(ard=False),
    "SVC, sigmoid": CalibratedClassifierCV(SVC(), ensemble=False),
}
figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for name, model in models.items():
    pipeline = make_pipeline(StandardScaler(), model)
    positive = cross_val_predict(pipeline, X, y, cv=5, method="predict_proba")[:, 1]
    label = f"{name} (log-loss {log_loss(y, positive):.3f})"
    CalibrationDisplay.from_predictions(y, positive, n_bins=5, strategy="quantile", name=label,
                                        ax=ax)
ax.set_title("Breast cancer, probabilities out of sample")
plt.show()
