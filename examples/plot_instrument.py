"""
What an instrument is for
=========================

Treatment x and outcome y share a hidden cause, so that regression of y on x estimates the wrong
curve, however many the samples; an instrument z moves x alone. ``KernelIVRegressor`` takes it as
``Z=``, and tunes the ridges and lengthscales of both its stages by hypergradient. The design is the
sigmoid one of Singh, Sahani, Gretton (2019), whose kernel IV regression has a median squared error
of 0.060 at n = 1,000 in twenty draws. Shown here are three draws of the same size. The method
differs from theirs: its first stage smooths the errors y − h(x), and it is tuned in another way.
"""

import matplotlib.pyplot as plt
import numpy as np

from kbo import KernelBilevelRegressor, KernelIVRegressor
from kbo.datasets import make_iv_sigmoid

curves = {"kernel ridge regression of y on x": [], "kernel IV regression with z": []}
for seed in range(3):
    data = make_iv_sigmoid(1000, n_test=200, random_state=seed)
    plain = KernelBilevelRegressor("gaussian").fit(data.X, data.y)
    model = KernelIVRegressor(random_state=0).fit(data.X, data.y, data.Z)
    for fitted, kept in zip((plain, model), curves.values(), strict=True):
        kept.append(fitted.predict(data.X_test))

figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
ax.plot(data.X[:, 0], data.y, ".", color="0.85", zorder=0)
x = data.X_test[:, 0]
for (name, found), color in zip(curves.items(), ("#D55E00", "#0072B2"), strict=True):
    errors = np.mean((np.array(found) - data.y_test) ** 2, 1)
    print(f"{name}: squared errors", *errors.round(3), f"median {np.median(errors):.3f}")
    ax.plot(x, np.transpose(found), color=color, label=[f"{name}", None, None])
ax.plot(x, data.y_test, "k--", lw=2, label="effect of x on y")
ax.set(xlabel="treatment x", ylabel="outcome y", title="Three draws of 1,000 samples")
ax.legend()
plt.show()
