"""The scale of a Gaussian process's variances, which no loss of its mean sees.

    c = mean_j (y_j − μ_j)²/σ_j²,   over the samples left out;   K ↦ cK and noise ↦ c·noise

leaves every mean μ_j as it is, and minimises the predictive log loss Σ_j ½(y_j − μ_j)²/(cσ_j²) +
½ log(cσ_j²) over c. So the ratios of the variances are searched, and their scale follows.

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
OFF = 1.5  # times too large or too small: variances that are said to be wrong
ERRORS = 3.0  # or so many standard errors of c, where the samples are few


def held_out_ratio(estimator, folds) -> tuple[float, int]:
    """(c, how many targets it is the mean of); NaN where some fold has no usable variance."""
    squares = []
    for fold in folds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variances below zero: NaN says so
            try:
                model = clone(estimator).fit(fold.train, fold.y)
            except np.linalg.LinAlgError:
                return np.nan, 0
            mean, deviation = model.predict(fold.test, return_std=True)
        # scikit-learn's deviation has the noise of a WhiteKernel, but not alpha.
        spread = np.var(fold.y, axis=0) if estimator.normalize_y else 1.0
        variance = deviation**2 + estimator.alpha * np.where(spread > 0, spread, 1.0)
        variance = np.where(variance > 0, variance, np.nan)
        squares.append(np.ravel((fold.y_test - mean) ** 2 / variance))
    squares = np.concatenate(squares)
    return float(squares.mean()), len(squares)


def scaling_constants(described, searched):
    """The constants whose product with c makes the kernel c times itself, or None.

    Parameters
    ----------
    described : tuple
        (name, prefix, sides) of a kernel and its parts.
    searched : container of str
        The hyperparameters that may change.
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
    """The variances c times as large, or as nearly as the ranges allow.

    Parameters
    ----------
    values : dict of str to float
        Of all hyperparameters, alpha among them.
    c : float
    dimensions : dict of str to Dimension
        Of those searched.
    constants : tuple of str
    noises : list of str
        alpha and the noise levels: of these, the ones searched take up c times the sum of all.

    Returns
    -------
    dict of str to float
        Those that change.
    """
    moving = [name for name in noises if name in dimensions]
    total = sum(values[name] for name in noises)
    moved = sum(values[name] for name in moving)
    lows = [dimensions[name].low / values[name] for name in constants]
    highs = [dimensions[name].high / values[name] for name in constants]
    # The noises searched grow by f, where f·moved + (total − moved) = c·total.
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
    """What is wrong with ``variances`` (their names) that should be c times as large."""
    if not np.isfinite(c) or abs(np.log(c)) <= max(np.log(OFF), ERRORS * np.sqrt(2 / count)):
        return []
    size = "small" if c > 1 else "large"
    factor = np.sqrt(max(c, 1 / c))
    return [
        f"the standard deviations that the best GaussianProcessRegressor predicts are about "
        f"{factor:.2g} times too {size} on the samples left out, for a loss of its mean does not "
        f"see their scale: multiply {variances} by {c:.2g}; or search them (in every summand of "
        "the kernel a ConstantKernel's constant_value, and a WhiteKernel's noise_level) in ranges "
        "that are wide enough, and their scale is set along with them"
    ]
