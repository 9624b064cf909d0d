"""The records of one quantity, checked and sorted for the fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from .limits import find_limit
from .quantities import QUANTITIES, Quantity
from .slopes import bias_slope, fluctuation_slope, larger_half, mean_slope

FEWEST_SIZES = 3
FEWEST_REPEATS = 4


def proportional(pairs):
    """Whether m/n is the same in all pairs (n, m), up to the rounding of sizes."""
    n, m = np.asarray(pairs, float).T
    return bool(np.ptp(np.log(m / n)) < 0.05)


def held(pairs):
    """The sample size that is the same in all pairs (n, m): "n", "m" or None."""
    for side, name in zip(zip(*pairs, strict=True), "nm", strict=True):
        if len(set(side)) == 1:
            return name
    return None


@dataclass(frozen=True)
class Measured:
    """Errors of one quantity by sample size.

    Attributes
    ----------
    kind : Quantity
    domain : SimpleNamespace
        ``Records.domain``.
    pairs : ndarray (S, 2)
        (n, m), in increasing order.
    errors : list of ndarray (R_i, k)
        For a curve, its last column.
    curves : list of ndarray (R_i, T) or None
        The whole curves, for a quantity that is one.
    """

    kind: Quantity
    domain: SimpleNamespace
    pairs: np.ndarray
    errors: list[np.ndarray]
    curves: list[np.ndarray] | None

    @classmethod
    def of(cls, records, quantity):
        """Check that the records of a quantity can be fitted, and sort them.

        Raises
        ------
        ValueError
            For too few sizes or repeats, a quantity that was not measured, or errors that are not
            finite or all zero.
        """
        kind, cells = QUANTITIES[records.measured(quantity)], records.cells(quantity)
        if len(cells) < FEWEST_SIZES:
            raise ValueError(
                f"{quantity} was measured at {len(cells)} sizes: a slope needs three at least"
            )
        fewest = min(len(rows) for rows in cells.values())
        if fewest < FEWEST_REPEATS:
            raise ValueError(
                f"{quantity} has {fewest} repeats at some size: an interval needs "
                f"{FEWEST_REPEATS} at least"
            )
        errors, curves = list(cells.values()), None
        if kind.times is not None:
            curves, errors = errors, [rows[:, -1:] for rows in errors]
        found = cls(kind, records.domain, np.array(list(cells)), errors, curves)
        if not all((size > 0).any() for size in found.magnitudes):
            raise ValueError("errors of exactly zero have no slope: leave those sizes out")
        return found

    @property
    def n(self):
        """Inner sample sizes (S,)."""
        return self.pairs[:, 0].astype(float)

    @property
    def together(self):
        """Whether n and m grow in proportion."""
        return proportional(self.pairs)

    @property
    def held(self):
        """The sample size that does not grow, or None."""
        return held(self.pairs)

    @property
    def sizes(self):
        """The sizes that vary (S,): n, or m where n is held."""
        return self.pairs[:, int(self.held == "n")].astype(float)

    @property
    def fewest(self):
        """The number of repeats at the size that has fewest."""
        return min(len(e) for e in self.errors)

    def magnitude(self, rows):
        """Sizes of errors, (R, k) ↦ (R,)."""
        return self.kind.magnitude(rows, self.domain)

    @property
    def magnitudes(self):
        """Sizes of the errors at each sample size, (R_i,) each."""
        return [self.magnitude(rows) for rows in self.errors]

    @property
    def resolution(self):
        """How far the magnitudes may be off, relative to them; None where they are exact."""
        off = [self.kind.resolution(rows, self.domain) for rows in self.errors]
        if off[0] is None:
            return None
        return float(max(o.mean() / m.mean() for o, m in zip(off, self.magnitudes, strict=True)))

    def limit(self, slowest, predicted, level, negligible):
        """The ``Limit`` of the mean error, or of the root mean square of a norm."""
        if self.kind.signed:
            return find_limit(
                self.n, self.errors, block=self.kind.block(self.domain), slowest=slowest,
                level=level, negligible=negligible,
            )
        squares = [m[:, None] ** 2 for m in self.magnitudes]
        found = find_limit(
            self.n, squares, slowest=-2 * predicted, level=level, negligible=negligible**2,
            nonnegative=True,
        )
        return replace(found, size=found.size**0.5, largest=found.largest**0.5)

    def slopes(self, n_bootstrap, random_state, level):
        """Slopes of total, total over the larger half, fluctuation and bias (or None)."""
        random = np.random.default_rng(random_state)
        draws = [random.integers(len(e), size=(n_bootstrap, len(e))) for e in self.errors]
        sizes, half = self.sizes, larger_half(self.sizes)
        total = mean_slope(sizes, self.magnitudes, draws, level)
        upper = mean_slope(
            sizes[half], [m for m, kept in zip(self.magnitudes, half, strict=True) if kept],
            [d for d, kept in zip(draws, half, strict=True) if kept], level,
        )
        if not self.kind.signed:
            return total, upper, None, None
        rest = sizes, self.errors, self.magnitude, draws, level
        return total, upper, fluctuation_slope(*rest), bias_slope(*rest)
