"""Slopes of log error against log size, with intervals from the bootstrap over repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST = 4  # sizes needed to claim an asymptotic regime
SLOW = 500  # draws for the fluctuation, which is centred again for each and so costs more


@dataclass(frozen=True)
class Slope:
    """log error ≈ intercept + slope · log n.

    Attributes
    ----------
    slope, intercept : float
    interval : pair of float
        The slope ± its bootstrap standard error over repeats, times a quantile of Student's t with
        Satterthwaite's degrees of freedom.
    sizes : ndarray (S,)
        The sizes fitted.
    errors : ndarray (S,)
        The errors fitted: mean error, ‖bias‖ or root mean square fluctuation.
    standard_error : float
        Of the slope.
    freedom : float
        Degrees of freedom of the standard error.
    """

    slope: float
    intercept: float
    interval: tuple[float, float]
    sizes: np.ndarray
    errors: np.ndarray
    standard_error: float
    freedom: float

    @property
    def half_width(self):
        """Half the width of the interval."""
        return 0.5 * (self.interval[1] - self.interval[0])

    def contains(self, exponent):
        """Whether the interval contains an exponent."""
        return self.interval[0] <= exponent <= self.interval[1]

    def slower_than(self, exponent):
        """One-sided p-value of the hypothesis "the slope is ``exponent`` or steeper"."""
        t = (self.slope - exponent) / self.standard_error
        return float(stats.t.sf(t, self.freedom))


def fit_slope(sizes, errors, boots, repeats, level) -> Slope:
    """Fit a line through (log n, log error) by weighted least squares.

    Parameters
    ----------
    sizes, errors, repeats : array (S,)
    boots : array (S, B)
        The errors of B bootstrap draws of the repeats.
    level : float
        Probability of each tail of the interval.
    """
    errors, repeats = np.asarray(errors, float), np.asarray(repeats, float)
    if not (errors > 0).all():
        raise ValueError("errors of exactly zero have no slope: leave those sizes out")
    logs = np.log(np.maximum(boots, np.finfo(float).tiny))
    # Draws with replacement have 1 − 1/R times the variance of the repeats.
    variance = np.maximum(logs.var(1) * repeats / (repeats - 1), 1e-16)
    x = np.log(sizes)
    # Variances of few repeats are too uncertain as weights: shrink them towards their mean.
    shrunk = ((repeats - 1) * variance + 20 * variance.mean()) / (repeats + 19)
    coefficients, centre = _line(x, shrunk)
    y = np.log(errors)
    slope = coefficients @ y
    level_at = (y / shrunk).sum() / (1 / shrunk).sum()
    parts = coefficients**2 * variance
    error = np.sqrt(parts.sum())
    freedom = parts.sum() ** 2 / (parts**2 / (repeats - 1)).sum()
    width = stats.t.isf(level, freedom) * error
    return Slope(
        float(slope), float(level_at - slope * centre),
        (float(slope - width), float(slope + width)), np.asarray(sizes), errors, float(error),
        float(freedom),
    )


def _line(x, variance):
    """Coefficients c with slope = c·y, and the weighted mean of x."""
    weight = 1 / variance
    centre = weight @ x / weight.sum()
    away = weight * (x - centre)
    return away / (away @ (x - centre)), centre


def mean_slope(sizes, magnitudes, draws, level) -> Slope:
    """The slope of the mean magnitude; ``magnitudes`` has an array (R,) for each size."""
    return fit_slope(
        sizes, [m.mean() for m in magnitudes],
        [m[d].mean(1) for m, d in zip(magnitudes, draws, strict=True)],
        [len(m) for m in magnitudes], level,
    )


def fluctuation_slope(sizes, errors, magnitude, draws, level) -> Slope:
    """The slope of √E‖e − E e‖²."""
    root = lambda e: _fluctuation(e, magnitude)  # noqa: E731
    return fit_slope(
        sizes, [root(e[None])[0] for e in errors],
        [root(e[d[:SLOW]]) for e, d in zip(errors, draws, strict=True)],
        [len(e) for e in errors], level,
    )


def _fluctuation(errors, magnitude):
    """√E‖ε_r‖² of sets of repeats, (S, R, k) ↦ (S,)."""
    centred = errors - errors.mean(1, keepdims=True)
    square = magnitude(centred.reshape(-1, errors.shape[2])).reshape(errors.shape[:2]) ** 2
    return np.sqrt(square.sum(1) / (errors.shape[1] - 1))


def bias_slope(sizes, errors, magnitude, draws, level) -> Slope | None:
    """The slope of ‖E e‖, over the sizes at which ‖ē‖² ≥ 4 s²/R; None for fewer than three.

    ‖E e‖² is estimated by ‖ē‖² − s²/R.
    """
    kept, values, boots, repeats = [], [], [], []
    square = lambda rows: magnitude(np.atleast_2d(rows)) ** 2  # noqa: E731
    for size, e, d in zip(sizes, errors, draws, strict=True):
        mean = e.mean(0)
        noise = (square(e - mean).sum() / (len(e) - 1)) / len(e)
        found = square(mean)[0]
        if found < 4 * noise:
            continue
        kept.append(size)
        repeats.append(len(e))
        values.append(np.sqrt(found - noise))
        means = np.array([e[rows].mean(0) for rows in d])
        boots.append(np.sqrt(np.maximum(square(means) - noise, 1e-4 * found)))
    return None if len(kept) < 3 else fit_slope(np.array(kept), values, boots, repeats, level)


def larger_half(sizes):
    """Which sizes are at or above the median, (S,) of bool."""
    return np.asarray(sizes) >= np.median(sizes)


def asymptotic_from(fit, predicted):
    """The smallest size from which a line of the predicted slope fits; None if there is none."""
    x = np.log(fit.sizes)
    # One standard deviation for all logs, derived from the slope's, is enough for a test of fit.
    scale = max(fit.standard_error, 1e-12) * np.sqrt(((x - x.mean()) ** 2).sum())
    y = np.log(fit.errors) - predicted * x
    for k in range(len(x) - FEWEST + 1):
        rest = y[k:]
        chi = ((rest - rest.mean()) ** 2).sum() / scale**2
        if stats.chi2.sf(chi, len(rest) - 1) > 0.05:
            return float(fit.sizes[k])
    return None
