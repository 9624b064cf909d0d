"""
Cleaning labels of which most are wrong
=======================================

Of 800 labels of scikit-learn's digits, 100 are known to be right, and 50, 70 or 90 % of the
others are wrong. ``SampleReweightingClassifier`` learns a weight for each of these, such that a
classifier fitted with the weights predicts the trusted digits: one hyperparameter a sample, and all
derivatives from one hypergradient. (The problem is the data hyper-cleaning of Franceschi, Donini,
Frasconi, Pontil 2017, with a linear model on 20,000 digits of MNIST.) Right and wrong labels are
told apart at each of the rates; where nine in ten are wrong, the hundred trusted digits alone
nevertheless make the better classifier.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from kbo import KernelBilevelClassifier, SampleReweightingClassifier

X, y = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
order = rng.permutation(len(X))
X, y = X[order] / 16, y[order]
train, test = slice(0, 800), slice(800, None)
trusted = np.arange(800) < 100
final = KernelBilevelClassifier(loss="squared", ard=False)
few = final.fit(X[train][trusted], y[train][trusted]).score(X[test], y[test])
rates = [0.5, 0.7, 0.9]
shares = {"all labels": [], "trusted labels": [], "cleaned labels": []}
for rate in rates:
    wrong = (rng.uniform(size=800) < rate) & ~trusted
    labels = np.where(wrong, (y[train] + rng.integers(1, 10, size=800)) % 10, y[train])
    cleaned = SampleReweightingClassifier(random_state=0).fit(X[train], labels, trusted=trusted)
    found = roc_auc_score(~wrong[~trusted], cleaned.sample_weight_[~trusted])
    plain = final.fit(X[train], labels).score(X[test], y[test])
    for kept, share in zip(shares.values(), (plain, few, cleaned.score(X[test], y[test])),
                           strict=True):
        kept.append(share)
    print(f"{rate:.0%} wrong: AUC {found:.3f},", *(f"{k} {v[-1]:.3f}" for k, v in shares.items()))

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
styles = zip(shares.items(), ("#D55E00", "#999999", "#0072B2"), "s^o", strict=True)
for (name, values), color, marker in styles:
    ax.plot(np.multiply(rates, 100), values, marker + "-", color=color, label=name)
ax.set(xlabel="wrong labels (%)", ylabel="accuracy on new digits", title="Learned from 800 digits")
ax.set_xticks(np.multiply(rates, 100))
ax.legend()
plt.show()
