"""
Which samples to trust
======================

A third of the training labels of the digits are wrong. From 100 labels that are known to be right,
``SampleReweightingClassifier`` learns a weight for each of the other thousand. These weights are
hyperparameters, and one hypergradient gives the derivatives in all of them.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from kbo import KernelBilevelClassifier, SampleReweightingClassifier
from kbo.inspection import SampleWeightDisplay

X, y = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
order = rng.permutation(len(X))
X, y = X[order] / 16, y[order]
train, test = slice(0, 1100), slice(1100, None)
trusted = np.arange(1100) < 100
wrong = (rng.uniform(size=1100) < 1 / 3) & ~trusted
labels = np.where(wrong, (y[train] + rng.integers(1, 10, size=1100)) % 10, y[train])

model = SampleReweightingClassifier(random_state=0).fit(X[train], labels, trusted=trusted)
plain = KernelBilevelClassifier(loss="squared", ard=False).fit(X[train], labels)
found = roc_auc_score(~wrong[~trusted], model.sample_weight_[~trusted])
print(f"right and wrong labels told apart with an AUC of {found:.3f}")
for name, fitted in {"weights learned": model, "all alike": plain}.items():
    print(f"test accuracy, {name}: {fitted.score(X[test], y[test]):.3f}")

# %%
display = SampleWeightDisplay.from_estimator(model, wrong=wrong)
display.ax_.set_title(f"Digits, a third of the labels wrong: AUC {found:.3f}")
plt.show()
