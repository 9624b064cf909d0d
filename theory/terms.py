"""The parts of an error in n, m and t: C₁/√m + C₂/√n + C/√(t + 1), one constant each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .limits import ROUNDING
from .slopes import Slope, larger_half

# The excess of a descent's curve over its end counts as visible from both of these on.
VISIBLE = 3  # in standard errors
LITTLE = 0.01  # relative to the first excess
EARLY = 16  # the exponent is fitted to the first T/16 steps: later ones are too close to the end


@dataclass(frozen=True)
class Term:
    """C · x^(−½) with x one of n, m and t + 1; or C alone, a floor.

    Attributes
    ----------
    constant : float
        C.
    interval : pair of float
        Confidence interval of C.
    slope : Slope or None
        The exponent of x, where it was fitted as well.
    """

    constant: float
    interval: tuple[float, float]
    slope: Slope | None = None


@dataclass(frozen=True)
class Parts:
    """Mean squares fitted by v₀ + C₁²/m + C₂²/n.

    Attributes
    ----------
    terms : dict of str to Term
        "m", "n", and "floor" (√v₀) where both vary.
    floor_p : float or None
        One-sided p-value of v₀ = 0.
    fit : float
        p-value of the residuals being noise, so that these terms are all there is.
    """

    terms: dict[str, Term]
    floor_p: float | None
    fit: float


def fit_parts(pairs, magnitudes, level) -> Parts:
    """Fit E‖e‖² = C₁²/m + C₂²/n (+ v₀ where n and m both vary) by weighted least squares.

    The two samples are independent, so that the squares of their contributions add up:
    √(C₁²/m + C₂²/n) ≤ C₁/√m + C₂/√n, the bound. Where n is held, all that does not fall with m is
    attributed to C₂/√n, as in the bound; likewise with m held.

    Parameters
    ----------
    pairs : array (S, 2)
        (n, m).
    magnitudes : sequence of array (R_i,)
    level : float
        Probability of each tail of the intervals.
    """
    n, m = np.asarray(pairs, float).T
    names = ["m", "n"]
    columns = [1 / m, 1 / n]
    if len(set(n)) > 1 and len(set(m)) > 1:
        names.append("floor")
        columns.append(np.ones_like(n))
    design = np.column_stack(columns)
    repeats = np.array([len(e) for e in magnitudes], float)
    squares = [e**2 for e in magnitudes]
    mean = np.array([s.mean() for s in squares])
    variance = np.array([s.var(ddof=1) for s in squares]) / repeats + (ROUNDING * mean) ** 2
    expected = mean
    for _ in range(3):  # a square's standard deviation is proportional to its mean
        weight = repeats / expected**2
        solve = np.linalg.solve(design.T * weight @ design, design.T * weight)
        found = solve @ mean
        expected = np.maximum(design @ found, 0.1 * mean)
    terms, p = {}, None
    for name, value, row in zip(names, found, solve, strict=True):
        parts = row**2 * variance
        error = np.sqrt(parts.sum())
        freedom = parts.sum() ** 2 / (parts**2 / (repeats - 1)).sum()
        ends = value + np.array([-1, 1]) * stats.t.isf(level, freedom) * error
        terms[name] = Term(*_root(value, ends))
        if name == "floor":
            p = float(stats.t.sf(value / error, freedom))
    left = ((mean - design @ found) ** 2 / variance).sum()
    freedom = len(mean) - len(names)
    fit = 1.0 if freedom <= 0 else float(
        stats.f.sf(left / freedom, freedom, (repeats - 1).mean())
    )
    return Parts(terms, p, fit)


def _root(value, ends):
    low, high = np.sqrt(np.maximum(ends, 0.0))
    return float(np.sqrt(max(value, 0.0))), (float(low), float(high))


def largest_constant(x, rows, level):
    """max_i √x_i E[row_i], the smallest C for which C/√x bounds the means, and its interval.

    Parameters
    ----------
    x : array (S,)
    rows : sequence of array (R_i,)
    level : float
        Probability of each tail of the interval.
    """
    scaled = [np.sqrt(at) * np.asarray(row) for at, row in zip(x, rows, strict=True)]
    top = max(scaled, key=np.mean)
    width = stats.t.isf(level, len(top) - 1) * stats.sem(top)
    mean = float(top.mean())
    return mean, (max(mean - float(width), 0.0), mean + float(width))


@dataclass(frozen=True)
class DescentFit:
    """What ``fit_time`` found.

    Attributes
    ----------
    term : Term
        C/√(t + 1).
    finished : bool
        Whether the curve has come to its end: over the second half of the steps it falls by less
        than the noise, or by less than a hundredth of its whole fall.
    """

    term: Term
    finished: bool


def fit_time(times, curves, level) -> DescentFit:
    """The part of min_{i ≤ t} ‖∇L(ω_i)‖ that falls with t.

        d(t) = E[min_{i≤t} − min_{i≤T}],  C = max_t √(t + 1) d(t)

    C is the smallest constant for which d(t) ≤ C/√(t + 1). The exponent is fitted to d over the
    larger half of the times t ≤ T/16 at which d exceeds both three standard errors and a hundredth
    of d(0). With fewer than three such times it is None: the descent has come to its end at once.
    If the descent has not finished at T, the exponent is steeper than the truth.

    Parameters
    ----------
    times : array (T,)
    curves : sequence of array (R_i, T)
        One for each sample size. They are averaged, because the size affects the value at which
        they end, but hardly the way in which they fall.
    level : float
        Probability of each tail of the intervals.
    """
    fewest = min(len(c) for c in curves)
    excess = np.mean([c[:fewest, :-1] - c[:fewest, -1:] for c in curves], 0)
    x = np.asarray(times, float)[:-1] + 1
    bound = largest_constant(x, excess.T, level)
    mean, error = excess.mean(0), stats.sem(excess, 0)
    seen = (mean > VISIBLE * error) & (mean > LITTLE * mean[0])
    finished = not seen[-1]
    early = np.flatnonzero(seen & (x <= 1 + times[-1] / EARLY))
    if len(early) < 3:
        return DescentFit(Term(*bound), finished)
    late = early[larger_half(x[early])]
    away = np.log(x[late]) - np.log(x[late]).mean()
    coefficients = away / (away @ away)
    slope = float(coefficients @ np.log(mean[late]))
    # To first order, repeat r contributes Σ_t c_t (d_r(t)/d(t) − 1) to the slope's error.
    moved = (excess[:, late] / mean[late]) @ coefficients
    error = max(float(stats.sem(moved)), np.finfo(float).tiny)
    width = float(stats.t.isf(level, fewest - 1)) * error
    fitted = Slope(
        slope, float((np.log(mean[late]) - slope * np.log(x[late])).mean()),
        (slope - width, slope + width), x[late] - 1, mean[late], error, fewest - 1.0,
    )
    return DescentFit(Term(*bound, fitted), finished)
