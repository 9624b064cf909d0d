"""Slopes of errors against the sample size: intervals, tests, a verdict that does not overclaim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .quantities import QUANTITIES

PREDICTED = -0.5
WIDE = 0.1  # half-width of an interval above which nothing is concluded
FEWEST = 4  # sizes on which a regime is claimed
FEWEST_REPEATS = 4
SLOW = 500  # draws for the fluctuation, whose centre moves with each


@dataclass(frozen=True)
class Slope:
    """log error ≈ intercept + slope · log n.

    Attributes
    ----------
    slope, intercept : float
    interval : pair of float
        Of the slope, from the bootstrap over repeats.
    sizes : ndarray (S,)
        Those fitted.
    errors : ndarray (S,)
        What was fitted: mean error, ‖bias‖ or root mean square fluctuation.
    """

    slope: float
    intercept: float
    interval: tuple[float, float]
    sizes: np.ndarray
    errors: np.ndarray

    @property
    def half_width(self):
        """Of the interval."""
        return 0.5 * (self.interval[1] - self.interval[0])

    def contains(self, exponent):
        """Whether the interval holds it."""
        return self.interval[0] <= exponent <= self.interval[1]


@dataclass(frozen=True)
class RateFit:
    """What ``fit_rate`` found.

    Attributes
    ----------
    slope : float
    interval : pair of float
        Of the mean error, bias and fluctuation together.
    total : Slope
    bias, fluctuation : Slope or None
        None for quantities that are norms already; bias also where no bias is visible at three
        sizes at least.
    p_value : float
        Of the predicted exponent, two-sided, for the fluctuation where there is one and the total
        otherwise.
    asymptotic_from : float or None
        The smallest n from which a line of the predicted slope fits (none rejected at 5 %, four
        sizes at least).
    verdict : {"consistent", "faster than the bound", "inconsistent", "inconclusive"}
    reason : str
        Of the verdict; where it is inconclusive, what would decide.
    outside : tuple of str
        Assumptions of the theorem that the problem does not meet.
    """

    slope: float
    interval: tuple[float, float]
    total: Slope
    bias: Slope | None
    fluctuation: Slope | None
    p_value: float
    asymptotic_from: float | None
    verdict: str
    reason: str
    outside: tuple[str, ...]

    def __str__(self):
        rows = [("total", self.total), ("bias", self.bias), ("fluctuation", self.fluctuation)]
        lines = [
            f"{name:12s} n^{fit.slope:+.3f}  [{fit.interval[0]:+.3f}, {fit.interval[1]:+.3f}]"
            for name, fit in rows if fit is not None
        ]
        lines.append(f"{self.verdict}: {self.reason}")
        lines += [f"outside the theorem: {what}" for what in self.outside]
        return "\n".join(lines)


def fit_rate(
    records, quantity="grad", *, predicted=PREDICTED, confidence=0.95, n_bootstrap=2000,
    random_state=0,
) -> RateFit:
    """The exponent with which an error falls, and whether that is what a bound of n^predicted says.

        e_r(n) = b(n) + ε_r(n),  b = E e_r:   total E‖e_r‖,  bias ‖b‖,  fluctuation √E‖ε_r‖²

    each fitted in logarithms by least squares, weighted by the bootstrap's variances. ‖b‖² is
    estimated without the bias of its own, ‖ē‖² − s²/R; sizes at which no bias is visible (‖ē‖²
    below 4 s²/R) are left out of its fit. A slope steeper than the bound does not contradict it.

    Parameters
    ----------
    records : Records
    quantity : str
    predicted : float
        The exponent of the bound.
    confidence : float
    n_bootstrap : int
    random_state : int

    Returns
    -------
    RateFit

    Raises
    ------
    ValueError
        For a quantity that was not measured, fewer than three sizes or four repeats, errors of
        zero, or n and m that vary both but not together.
    """
    if quantity not in records.errors:
        raise ValueError(f"quantity={quantity!r} was not measured: {records.quantities} were")
    kind = QUANTITIES[quantity]
    sizes, errors = _along(records.errors[quantity])
    magnitude = lambda rows: kind.magnitude(rows, records.domain)  # noqa: E731
    random = np.random.default_rng(random_state)
    fewest = min(len(e) for e in errors)
    if fewest < FEWEST_REPEATS:
        raise ValueError(f"{fewest} repeats: an interval needs {FEWEST_REPEATS} at least")
    draws = [random.integers(len(e), size=(n_bootstrap, len(e))) for e in errors]
    level = 0.5 * (1 - confidence)
    mean = [magnitude(e) for e in errors]
    total = _fit(
        sizes, [m.mean() for m in mean], [m[d].mean(1) for m, d in zip(mean, draws, strict=True)],
        level,
    )
    bias = fluctuation = None
    if kind.signed:
        root = lambda e: _fluctuation(e, magnitude)  # noqa: E731
        fluctuation = _fit(
            sizes, [root(e[None])[0] for e in errors],
            [root(e[d[:SLOW]]) for e, d in zip(errors, draws, strict=True)], level,
        )
        bias = _bias(sizes, errors, magnitude, draws, level)
    judged = fluctuation or total
    p_value = _two_sided(judged, predicted, level)
    verdict, reason = _verdict(total, fluctuation, predicted, len(errors[0]))
    return RateFit(
        total.slope, total.interval, total, bias, fluctuation, p_value,
        _asymptotic_from(judged, predicted, level), verdict, reason,
        tuple(records.about.get("outside", ())),
    )


def _along(cells):
    """Sizes (S,) and errors of each, along whichever of n and m varies."""
    pairs = np.array(sorted(cells))
    n, m = pairs.T
    if len(pairs) < 3:
        raise ValueError(f"{len(pairs)} sizes: a slope needs three at least")
    together = np.ptp(np.log(m / n)) < 0.05  # one ratio, up to the rounding of sizes
    if not together and len(set(n)) > 1 and len(set(m)) > 1:
        raise ValueError("n and m vary both, apart: fit those records where one is held")
    sizes = n if len(set(n)) > 1 else m
    return sizes.astype(float), [cells[tuple(pair)] for pair in pairs]


def _fit(sizes, errors, boots, level) -> Slope:
    """A weighted line through (log n, log error), its slope's interval by the bootstrap."""
    errors, boots = np.asarray(errors), np.array(boots)
    if not (errors > 0).all():
        raise ValueError("errors of exactly zero have no slope: leave those sizes out")
    logs = np.log(np.maximum(boots, np.finfo(float).tiny))
    variance = np.maximum(logs.var(1), 1e-16)
    x = np.log(sizes)
    slope_of = lambda y: _line(x, y, variance)  # noqa: E731
    slope, intercept = slope_of(np.log(errors))
    slopes = slope_of(logs)[0]
    # Centred at the estimate: the bootstrap's own shift is not part of the error.
    width = stats.norm.ppf(1 - level) * slopes.std()
    return Slope(float(slope), float(intercept), (float(slope - width), float(slope + width)),
                 sizes, errors)


def _line(x, y, variance):
    weight = 1 / variance
    centre = weight @ x / weight.sum()
    level = weight @ y / weight.sum()
    slope = (weight * (x - centre)) @ y / (weight @ (x - centre) ** 2)
    return slope, level - slope * centre


def _fluctuation(errors, magnitude):
    """√E‖ε_r‖² of sets of repeats, (S, R, k) ↦ (S,)."""
    centred = errors - errors.mean(1, keepdims=True)
    square = magnitude(centred.reshape(-1, errors.shape[2])).reshape(errors.shape[:2]) ** 2
    return np.sqrt(square.sum(1) / (errors.shape[1] - 1))


def _bias(sizes, errors, magnitude, draws, level):
    """The fit of ‖b‖ where it is visible."""
    kept, values, boots = [], [], []
    for size, e, d in zip(sizes, errors, draws, strict=True):
        mean = e.mean(0)
        square = lambda rows: magnitude(np.atleast_2d(rows)) ** 2  # noqa: E731
        noise = (square(e - mean).sum() / (len(e) - 1)) / len(e)
        found = square(mean)[0]
        if found < 4 * noise:
            continue
        kept.append(size)
        values.append(np.sqrt(found - noise))
        means = np.array([e[rows].mean(0) for rows in d])
        boots.append(np.sqrt(np.maximum(square(means) - noise, 1e-4 * found)))
    if len(kept) < 3:
        return None
    return _fit(np.array(kept), values, boots, level)


def _two_sided(fit, predicted, level):
    error = max(fit.half_width / stats.norm.ppf(1 - level), np.finfo(float).tiny)
    return float(2 * stats.norm.sf(abs(fit.slope - predicted) / error))


def _verdict(total, fluctuation, predicted, repeats):
    low, high = total.interval
    # The smaller half says little of the limit: where it misleads, the larger half decides.
    upper = _upper_half(total)
    if total.half_width > WIDE:
        needed = int(np.ceil(repeats * (total.half_width / (0.5 * WIDE)) ** 2))
        return "inconclusive", (
            f"the interval of the total slope is ±{total.half_width:.2f}: about {needed} repeats "
            f"(there were {repeats}) would make it ±{0.5 * WIDE:.2f}"
        )
    if low > predicted:
        if upper > predicted + 0.5 * WIDE:
            return "inconsistent", (
                f"the error falls as n^{total.slope:.2f} (n^{upper:.2f} over the larger half of "
                f"the sizes), slower than the bound's n^{predicted:g}"
            )
        return "inconclusive", (
            f"slower than the bound over all sizes, but as n^{upper:.2f} over the larger half: "
            f"sizes beyond {total.sizes[-1]:.0f} would decide"
        )
    if high < predicted:
        text = f"the error falls as n^{total.slope:.2f}, which the bound n^{predicted:g} allows"
        if fluctuation is not None:
            text += f"; its fluctuation as n^{fluctuation.slope:.2f}"
        return "faster than the bound", text
    return "consistent", f"the interval of the total slope holds {predicted:g}"


def _upper_half(fit):
    kept = fit.sizes >= np.median(fit.sizes)
    x, y = np.log(fit.sizes[kept]), np.log(fit.errors[kept])
    return float(np.polyfit(x, y, 1)[0])


def _asymptotic_from(fit, predicted, level):
    """The smallest size from which the residuals about a line of the predicted slope are noise."""
    z = stats.norm.ppf(1 - level)
    x = np.log(fit.sizes)
    # One standard deviation for all logs, from the slope's: enough for a test of fit.
    scale = max(fit.half_width / z, 1e-12) * np.sqrt(((x - x.mean()) ** 2).sum())
    y = np.log(fit.errors) - predicted * x
    for k in range(len(x) - FEWEST + 1):
        rest = y[k:]
        chi = ((rest - rest.mean()) ** 2).sum() / scale**2
        if stats.chi2.sf(chi, len(rest) - 1) > 0.05:
            return float(fit.sizes[k])
    return None
