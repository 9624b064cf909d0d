"""Whether errors fall as a bound says: fits, tests, and a verdict that does not overclaim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kbo.html import Shown, facts

from .evidence import Evidence
from .limits import Limit
from .measured import Measured
from .slopes import Slope, asymptotic_from
from .terms import Term, fit_parts, fit_time, largest_constant

PREDICTED = -0.5
FEWEST_DRAWS = 100
NEGLIGIBLE = 0.2  # share of the tolerance up to which a limit may be the curve's misfit


@dataclass(frozen=True)
class RateFit(Shown):
    """What ``fit_rate`` found.

    Attributes
    ----------
    slope, interval : float and pair of float, or None
        The exponent of the mean error (bias and fluctuation together), as in ``total``.
    total : Slope or None
        Along n, or along m where n is held. None for a descent's curve, and where n and m vary
        separately: one exponent says nothing there.
    bias, fluctuation : Slope or None
        None for quantities that are norms already; bias also where it is visible at fewer than
        three sizes.
    limit : Limit or None
        Limit of the mean error, b₀ in b₀ + b₁(n + c)^(−β); for norms, the square root of the limit
        of the mean square. None where that test is not possible.
    terms : dict of str to Term
        "m" and "n" where n and m are not in proportion, and "floor" where neither is held; "t" and
        "n" for a descent's curve.
    p_value : float or None
        Of the hypothesis "the error tends to zero at least as fast as the bound", from all tests
        together by Bonferroni's inequality; the verdict is taken from it. None without any test,
        as where n is held: the bound then allows any error.
    asymptotic_from : float or None
        The smallest n from which a line of the predicted slope fits (not rejected at 5 %, on at
        least four sizes).
    verdict : {"consistent", "faster than the bound", "inconsistent", "inconclusive"}
    reason : str
        Why the verdict was given; where it is inconclusive, what would decide.
    outside : tuple of str
        Assumptions of the theorem that the problem does not meet.
    resolution : float or None
        For a sup found by interpolation, how far the errors' sizes may be off, relative to them.
    """

    slope: float | None
    interval: tuple[float, float] | None
    total: Slope | None
    bias: Slope | None
    fluctuation: Slope | None
    limit: Limit | None
    terms: dict[str, Term]
    p_value: float | None
    asymptotic_from: float | None
    verdict: str
    reason: str
    outside: tuple[str, ...]
    resolution: float | None

    def __str__(self):
        rows = [("total", self.total), ("bias", self.bias), ("fluctuation", self.fluctuation)]
        lines = [
            f"{name:12s} n^{fit.slope:+.3f}  [{fit.interval[0]:+.3f}, {fit.interval[1]:+.3f}]"
            for name, fit in rows if fit is not None
        ]
        if self.fluctuation is not None and self.bias is None:
            lines.insert(-1, f"{'bias':12s} visible at fewer than three sizes")
        shown = {"m": "C/√m", "n": "C/√n", "t": "C/√(t+1)", "floor": "C"}
        for name, term in self.terms.items():
            ends = f"[{term.interval[0]:.3g}, {term.interval[1]:.3g}]"
            lines.append(f"{shown[name]:12s} C = {term.constant:.3g}  {ends}")
            if term.slope is not None:
                ends = f"[{term.slope.interval[0]:+.3f}, {term.slope.interval[1]:+.3f}]"
                lines.append(f"{'':12s} {name}^{term.slope.slope:+.3f}  {ends}")
        if self.limit is not None:
            lines.append(
                f"{'limit':12s} {self.limit.size:.3g}, at most {self.limit.largest:.3g}"
            )
        chance = "" if self.p_value is None else f" (p = {self.p_value:.2g})"
        lines.append(f"{self.verdict}{chance}: {self.reason}")
        if self.resolution is not None:
            lines.append(f"the sup is interpolated, each to {100 * self.resolution:.2g} %")
        lines += [f"outside the theorem: {what}" for what in self.outside]
        return "\n".join(lines)

    def html_parts(self):
        """Exponents with their intervals, and the verdict; see kbo.html.Shown."""
        parts = {"total": self.total, "bias": self.bias, "fluctuation": self.fluctuation}
        rows = {
            name: f"n^{fit.slope:+.3f}, 95 %: {fit.interval[0]:+.3f} to {fit.interval[1]:+.3f}"
            for name, fit in parts.items() if fit is not None
        }
        limit = self.limit and f"{self.limit.size:.3g}, at most {self.limit.largest:.3g}"
        return facts(rows | {
            "limit": limit, "verdict": self.verdict, "reason": self.reason,
            "outside the theorem": "; ".join(self.outside),
        })


def fit_rate(
    records, quantity="grad", *, predicted=PREDICTED, confidence=0.95, n_bootstrap=2000,
    random_state=0, tolerance=0.05, truth_size=None, slowest=1.0,
) -> RateFit:
    """The exponent with which an error falls, and whether it tends to zero as a bound says::

        e_r(n) = b(n) + ε_r(n),  b = E e_r:   total E‖e_r‖,  bias ‖b‖,  fluctuation √E‖ε_r‖²
        b(n) = b₀ + b₁ (n + c)^(−β)

    Slopes are fitted by least squares in logarithms, weighted by the bootstrap's variances. The
    unbiased estimate of ‖b‖² is ‖ē‖² − s²/R; sizes at which no bias is visible (‖ē‖² below 4 s²/R)
    are left out of its fit.

    The verdict rests on one p-value, of the hypothesis "the error tends to zero as n^predicted or
    faster". It is twice the smaller of two p-values. The first is of ‖b₀‖ being at most a fifth of
    ``tolerance`` (by default 1 % of the truth), or zero where the truth's size is not known; see
    ``limits.find_limit``. For norms, ‖b₀‖ is the square root of the limit of the mean square. The
    second is of the slope being ``predicted`` or steeper: the larger of the p-values over all sizes
    and over their larger half, those at or above the median. With α = (1 − confidence)/2, the level
    of a one-sided test,

    * "inconsistent" means p < α. A correct estimator gets it with probability at most α.
    * "consistent" and "faster than the bound" mean that p ≥ α, that the upper confidence limit of
      ‖b₀‖ (at level α/2) is at most ``tolerance`` times the truth, that the total slope is known to
      ±0.1, and that its intervals, over all sizes and over the larger half, are not slower than the
      bound. An estimator whose mean error tends to ``tolerance`` times the truth or more gets one
      of the two with probability at most α/2. It is "faster" if the interval of the total slope
      lies below ``predicted``, and the slope over the larger half of the sizes does too.
    * "inconclusive" means anything else; the reason says what would decide.

    Both probabilities hold where the mean error has the shape above. This is tested too, but with
    little power at few sizes. A fluctuation that does not fall is detected by the slopes alone.

    Where n and m vary separately, mean squares are fitted by v₀ + C₁²/m + C₂²/n
    (``terms.fit_parts``) and v₀ = 0 is tested. b(n) is as above: value and gradient are means over
    the outer sample, so that m brings no bias. With n held the bound allows any error that remains,
    with m held any fluctuation: both terms are reported, and the verdict is "inconclusive" at best.
    A descent's curve is fitted in t as well (``terms.fit_time``).

    Parameters
    ----------
    records : Records
    quantity : str
    predicted : float
        The exponent of the bound, negative.
    confidence : float
        In (0, 1).
    n_bootstrap : int
        At least 100.
    random_state : int
    tolerance : float
        An estimator must not pass if its error tends to this limit or more, relative to the truth.
    truth_size : float, optional
        ‖truth‖, where the records do not contain it.
    slowest : float
        The smallest β. L̂ and ∇L̂ at a fixed ridge are smooth functions of sample means, whose bias
        is b₁/n + b₂/n² + …, hence 1. Give ½ where only the bound is known: then fewer estimators
        are rejected, and fewer pass.

    Returns
    -------
    RateFit

    Raises
    ------
    ValueError
        For a quantity that was not measured, fewer than three sizes or four repeats, errors that
        are zero or not finite, and options out of range.
    """
    _check(predicted, confidence, n_bootstrap, tolerance, truth_size, slowest)
    data, level = Measured.of(records, quantity), 0.5 * (1 - confidence)
    size = records.truth_size(quantity) if truth_size is None else float(truth_size)
    evidence, terms = Evidence(level, predicted, tolerance, size), {}
    # Value and gradient are means over the outer sample: only n can bring a bias.
    biased = data.held != "n" if data.kind.signed else data.together
    tests = biased + (data.together or data.held is None) + (data.curves is not None)
    limit = total = upper = fluctuation = bias = None
    if biased:
        negligible = NEGLIGIBLE * tolerance * (size or 0.0)
        limit = data.limit(slowest, predicted, level / tests, negligible)
        evidence.limit(limit)
    if data.together or data.held:
        total, upper, fluctuation, bias = data.slopes(n_bootstrap, random_state, level)
    if data.together:
        evidence.slope(total, upper, data.fewest)
    else:
        parts = fit_parts(data.pairs, data.magnitudes, level)
        terms |= parts.terms
        evidence.parts(parts, data.held)
    regime = asymptotic_from(fluctuation or total, predicted) if total else None
    if data.curves is not None:
        descent = fit_time(data.kind.times, data.curves, level)
        terms["t"] = descent.term
        evidence.time(descent, data.kind.times[-1])
    verdict = evidence.verdict(total, upper)
    if data.curves is not None and data.together:
        # A curve has no single exponent: the one in n is that of its end.
        terms["n"] = Term(*largest_constant(data.sizes, data.magnitudes, level), total)
        total = None
    return RateFit(
        total and total.slope, total and total.interval, total, bias, fluctuation, limit,
        terms, evidence.p_value, regime, *verdict, tuple(records.about.get("outside", ())),
        data.resolution,
    )


def _check(predicted, confidence, n_bootstrap, tolerance, truth_size, slowest):
    """Raise for options out of range."""
    for name, value, low, high in (
        ("predicted", predicted, -np.inf, 0), ("confidence", confidence, 0, 1),
        ("tolerance", tolerance, 0, 1), ("slowest", slowest, 0, np.inf),
        ("truth_size", 1.0 if truth_size is None else truth_size, 0, np.inf),
    ):
        if not low < value < high:
            raise ValueError(f"{name}={value!r} must be a number between {low:g} and {high:g}")
    if not n_bootstrap >= FEWEST_DRAWS:
        raise ValueError(
            f"n_bootstrap={n_bootstrap!r}: a standard error needs {FEWEST_DRAWS} draws at least"
        )
