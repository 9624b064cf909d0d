"""
Intervals that hold when the noise is not Gaussian
==================================================

The noise is Student's t with two degrees of freedom: most errors are small, a few are very large. A
Gaussian process knows one number about the noise, its variance, so that its 50 % intervals are far
too wide. Those of ``predict_interval`` are the jackknife+, from the residual of each sample
when it is left out. Intervals that claim to contain a share c of new targets contain at least
2c − 1 of them whatever the noise, and about c if the fit is stable (Barber, Candès, Ramdas,
Tibshirani 2021). This is proven for a model that was not tuned on the same samples. Here it was
tuned on them; we therefore count how many of 1,000 new rows each kind of interval contains, for ten
draws.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from kbo import KernelBilevelRegressor

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.75"
levels = np.array([0.3, 0.5, 0.7, 0.8, 0.9, 0.95])


def drawn(rng, n):
    """Points of [-3, 3] and noisy values of a smooth function."""
    X = rng.uniform(-3, 3, size=(n, 1))
    return X, np.sin(2 * X[:, 0]) + X[:, 0] / 2 + 0.2 * rng.standard_t(2, size=n)


def intervals(model, X, level):
    """(lower, upper) of the jackknife+ and of the Gaussian process, at one level."""
    mean, std = model.predict(X, return_std=True)
    half = norm.ppf(0.5 + level / 2) * std
    return {"jackknife+": model.predict_interval(X, level).T,
            "Gaussian process": np.array([mean - half, mean + half])}


held = {"jackknife+": [], "Gaussian process": []}
for seed in range(10):
    rng = np.random.default_rng(seed)
    X, y = drawn(rng, 200)
    X_new, y_new = drawn(rng, 1000)
    model = KernelBilevelRegressor("gaussian").fit(X, y)
    found = [intervals(model, X_new, level) for level in levels]
    for name, shares in held.items():
        shares.append([np.mean((lower <= y_new) & (y_new <= upper)) for lower, upper in
                       (each[name] for each in found)])
for name, shares in held.items():
    print(name, *(f"{c:.0%}: {s:.1%}" for c, s in zip(levels, np.mean(shares, 0), strict=True)))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
grid = np.linspace(-3, 3, 200)[:, None]
left.plot(X[:, 0], y, ".", color=GREY)
for (name, ends), color in zip(intervals(model, grid, 0.5).items(), (BLUE, ORANGE), strict=True):
    left.plot(grid[:, 0], ends.T, color=color, label=[name, None])
    mean, spread = np.mean(held[name], 0), np.std(held[name], 0)
    right.errorbar(levels, mean, spread, fmt="o-", color=color, label=name)
left.set(title="50 % intervals of one draw", xlabel="x", ylabel="y", ylim=(-3.5, 3.5))
right.plot([0.3, 1], [0.3, 1], "k--", lw=1, label="as claimed")
right.set(title="new rows held, ± 1 deviation", xlabel="claimed", ylabel="held")
right.legend()
plt.show()
