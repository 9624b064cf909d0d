"""Combines the tests of a bound into one p-value, a list of doubts and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MISFIT = 0.001  # p-value below which a curve is taken not to have the assumed shape
WIDE = 0.1  # half-width of a slope's interval above which nothing is concluded


def _percent(share):
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def _course(slope):
    return f"falls as n^{slope:.2f}" if slope < 0 else f"grows as n^{slope:.2f}"


@dataclass
class Evidence:
    """Evidence on the claim "the error tends to zero at least as fast as n^predicted".

    Parameters
    ----------
    level : float
        α, of all tests together.
    predicted : float
        The exponent of the bound.
    tolerance : float
        The largest limit of the error that may count as zero, relative to the truth.
    size : float or None
        The size of the truth; None where it is unknown.
    """

    level: float
    predicted: float
    tolerance: float
    size: float | None
    tests: list[tuple[float, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.size is None:
            self.doubts.append(
                "how large the truth is, is not in the records, so that no limit can be called "
                "small: give truth_size"
            )

    @property
    def p_value(self):
        """p-value of all tests together, by Bonferroni's inequality; None without any test."""
        if not self.tests:
            return None
        return min(1.0, len(self.tests) * min(p for p, _ in self.tests))

    def limit(self, found):
        """Add the test of the error's limit."""
        share = "" if not self.size else f", {_percent(found.size / self.size)} of the truth"
        self.tests.append(
            (found.p_value, f"the mean error tends to {found.size:.2g}{share}, not to zero")
        )
        if found.fit < MISFIT:
            self.doubts.append(
                "the mean error does not follow b₀ + b₁(n + c)^(−β) at these sizes: larger ones "
                "would decide"
            )
        if self.size is not None and found.largest > self.tolerance * self.size:
            self.doubts.append(
                f"the mean error may tend to {_percent(found.largest / self.size)} of the truth "
                f"(tolerance: {100 * self.tolerance:g} %): more repeats or larger sizes would "
                f"decide; where the truth ({self.size:.2g}) is small by itself, as a gradient near "
                "a stationary point is, give truth_size= what counts as large"
            )

    def slope(self, total, upper, repeats):
        """Add the test of the total slopes: over all sizes, and over the larger half of them."""
        slow = (
            f"the error {_course(upper.slope)} ± {upper.half_width:.2f} over the larger half of "
            f"the sizes (n^{total.slope:.2f} over all)"
        )
        self.tests.append((
            max(total.slower_than(self.predicted), upper.slower_than(self.predicted)),
            f"{slow}, slower than the bound's n^{self.predicted:g}",
        ))
        if total.half_width > WIDE:
            needed = int(np.ceil(repeats * (total.half_width / (0.5 * WIDE)) ** 2))
            self.doubts.append(
                f"the interval of the total slope is ±{total.half_width:.2f}: about {needed} "
                f"repeats (there were {repeats}) would make it ±{0.5 * WIDE:.2f}"
            )
        elif max(total.interval[0], upper.interval[0]) > self.predicted:
            self.doubts.append(
                f"{slow}: more repeats or sizes beyond {total.sizes[-1]:.0f} would decide"
            )

    def parts(self, found, held):
        """Add the test of a fit of v₀ + C₁²/m + C₂²/n; ``held`` is "n", "m" or None."""
        if held is not None:
            term = found.terms[held]
            self.doubts.append(
                f"{held} was held: the bound allows the error of C/√{held}, C = "
                f"{term.constant:.3g}, that is left: let {held} grow too"
            )
            return
        floor = found.terms["floor"]
        self.tests.append(
            (found.floor_p, f"the error tends to {floor.constant:.2g} as n and m grow, not to zero")
        )
        if found.fit < MISFIT:
            self.doubts.append(
                "mean squares do not follow C₁²/m + C₂²/n at these sizes: larger ones would decide"
            )
        if self.size is not None and floor.interval[1] > self.tolerance * self.size:
            self.doubts.append(
                f"what is left as n and m grow may be {_percent(floor.interval[1] / self.size)} "
                "of the truth: more repeats or larger sizes would decide"
            )

    def time(self, descent, last):
        """Add the test of the part of a descent's curve that falls with t, up to ``last``."""
        slope = descent.term.slope
        if slope is not None:
            self.tests.append((
                slope.slower_than(-0.5),
                f"along the descent the gradient falls as t^{slope.slope:.2f}, slower than the "
                "bound's t^-0.5",
            ))
        if not descent.finished:
            self.doubts.append(
                f"the descent was still falling at t = {last}: more steps would decide"
            )

    def verdict(self, total, upper):
        """The verdict and its reason; the slopes are None where n and m vary separately."""
        if self.p_value is not None and self.p_value < self.level:
            return "inconsistent", min(self.tests)[1]
        if self.doubts:
            return "inconclusive", "; ".join(self.doubts)
        if total is None:
            return "consistent", "C₁/√m + C₂/√n is all that is left"
        if total.interval[1] < self.predicted and upper.slope < self.predicted:
            return "faster than the bound", (
                f"the error falls as n^{total.slope:.2f} (n^{upper.slope:.2f} over the larger half "
                f"of the sizes), which the bound n^{self.predicted:g} allows"
            )
        return "consistent", f"the error falls as n^{total.slope:.2f}, to zero as far as is seen"
