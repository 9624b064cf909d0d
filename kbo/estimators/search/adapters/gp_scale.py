"""The scale of a Gaussian process's variances, on which no loss of its mean depends.

    c = mean_j (y_j − μ_j)²/σ_j²  over the held-out samples;   K ↦ cK and noise ↦ c·noise

The rescaling leaves every mean μ_j unchanged, and this c minimises the predictive log loss
Σ_j ½(y_j − μ_j)²/(cσ_j²) + ½ log(cσ_j²). So the search determines the ratios of the variances, and
c determines their scale.

References
----------
Bachoc (2013), Cross validation and maximum likelihood estimations of hyper-parameters of Gaussian
processes with model misspecification, Section 2.3.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import clone

NOISE, CONSTANT, SUM, PRODUCT = "WhiteKernel", "ConstantKernel", "Sum", "Product"
# A warning is given if variances are wrong by more than the factor OFF, and by more than ERRORS
# standard errors of log c, which matters where samples are few.
OFF = 1.5
ERRORS = 3.0


def held_out_ratio(estimator, folds) -> tuple[float, int]:
    """c, and the number of held-out targets behind it; NaN if a fold has no usable variance."""
    squares = []
    for fold in folds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # negative variances become NaN below
            try:
                model = clone(estimator).fit(fold.train, fold.y)
            except np.linalg.LinAlgError:
                return np.nan, 0
            mean, deviation = model.predict(fold.test, return_std=True)
        # scikit-learn's deviation includes the noise of a WhiteKernel, but not alpha.
        spread = np.var(fold.y, axis=0) if estimator.normalize_y else 1.0
        variance = deviation**2 + estimator.alpha * np.where(spread > 0, spread, 1.0)
        variance = np.where(variance > 0, variance, np.nan)
        squares.append(np.ravel((fold.y_test - mean) ** 2 / variance))
    squares = np.concatenate(squares)
    return float(squares.mean()), len(squares)


def scaling_constants(described, searched):
    """The ConstantKernel values that, multiplied by c, multiply the kernel by c; None if none do.

    Parameters
    ----------
    described : tuple
        (name, prefix, sides) of a kernel and its parts.
    searched : container of str
        The hyperparameters that are searched, and so may change.
    """
    name, prefix, sides = described
    if name == NOISE:
        return ()
    if name == CONSTANT:
        constant = f"{prefix}__constant_value"
        return (constant,) if constant in searched else None
    found = [scaling_constants(side, searched) for side in sides]
    if name == PRODUCT:
        return next((constants for constants in found if constants is not None), None)
    if name == SUM and None not in found:
        return found[0] + found[1]
    return None


def scaled(values, c, dimensions, constants, noises):
    """Multiply the variances by c, or by the nearest factor that the ranges allow.

    Parameters
    ----------
    values : dict of str to float
        The values of all hyperparameters and of alpha.
    c : float
    dimensions : dict of str to Dimension
        The parameters that are searched.
    constants : tuple of str
        The constants from ``scaling_constants``.
    noises : list of str
        alpha and the noise levels. Those that are searched are changed such that the sum of all
        becomes c times as large.

    Returns
    -------
    dict of str to float
        The values that change.
    """
    moving = [name for name in noises if name in dimensions]
    total = sum(values[name] for name in noises)
    moved = sum(values[name] for name in moving)
    lows = [dimensions[name].low / values[name] for name in constants]
    highs = [dimensions[name].high / values[name] for name in constants]
    # The noises that are searched are multiplied by f, where f·moved + (total − moved) = c·total.
    for ends, end in ((lows, "low"), (highs, "high")):
        for name in moving:
            f = getattr(dimensions[name], end) / values[name]
            ends.append((f * moved + total - moved) / total)
    c = np.clip(c, max(lows), min(highs))
    f = (c * total - (total - moved)) / moved
    return {
        **{name: float(c * values[name]) for name in constants},
        **{name: float(f * values[name]) for name in moving},
    }


def complaints(c, count, variances):
    """A warning, in a list, if ``variances`` (names) should be c times as large; else none."""
    if not np.isfinite(c) or abs(np.log(c)) <= max(np.log(OFF), ERRORS * np.sqrt(2 / count)):
        return []
    size = "small" if c > 1 else "large"
    factor = np.sqrt(max(c, 1 / c))
    return [
        f"the standard deviations that the best GaussianProcessRegressor predicts are about "
        f"{factor:.2g} times too {size} on the samples left out, because the search minimises a "
        f"loss of the mean, which does not depend on their scale: multiply {variances} by {c:.2g}; "
        "or search them (in every summand of the kernel a ConstantKernel's constant_value, and a "
        "WhiteKernel's noise_level) in ranges that are wide enough: their scale is then set too"
    ]
