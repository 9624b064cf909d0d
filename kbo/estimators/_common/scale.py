"""Robust centre and spread of each column, which a few outlying cells hardly change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NORMAL = 1.4826  # the standard deviation of normal values over their median absolute deviation
FAR = 6.0  # values are clipped this many robust standard deviations from the median


def _medians(values, weight):
    """The weighted median of each column, with weights (n, d); midway between two if they tie."""
    order = np.argsort(values, axis=0, kind="stable")
    values = np.take_along_axis(values, order, 0)
    reached = np.cumsum(np.take_along_axis(weight, order, 0), axis=0)
    half = 0.5 * reached[-1]
    ends = [(reached >= half * (1 - 1e-12)).argmax(0), (reached > half * (1 + 1e-12)).argmax(0)]
    lower, upper = np.take_along_axis(values, np.array(ends), 0)
    return 0.5 * (lower + upper)


def within_reach(values, weight):
    """The values of each column, clipped to six robust standard deviations around its median.

    The robust standard deviation comes from the median distance to the median, over the values
    that differ from the median: half of a column may be zeros, as in dummies and counts.

    Parameters
    ----------
    values : ndarray (n, d)
    weight : ndarray (n,)

    Returns
    -------
    ndarray (n, d)
        The clipped values.
    distance : ndarray (d,)
        The median distance to the median; zero for constant columns.
    """
    weight = np.broadcast_to(weight[:, None], values.shape)
    median = _medians(values, weight)
    distance = np.abs(values - median)
    distance[distance <= 1e-12 * np.abs(median)] = 0.0
    typical = _medians(distance, weight * (distance > 0))
    reach = FAR * NORMAL * typical
    return np.clip(values, median - reach, median + reach), typical


def center_and_spread(values, weight):
    """Mean and standard deviation of each column after ``within_reach``; (d,) each.

    The spread is at least half the typical distance to the median, so that a rare dummy has the
    same spread as one that splits the sample in halves. It is zero for constant columns only.
    """
    near, typical = within_reach(values, weight)
    share = weight / weight.sum()
    center = share @ near
    spread = np.sqrt(share @ (near - center) ** 2)
    return center, np.where(typical > 0, np.maximum(spread, 0.5 * typical), 0.0)


def has_curve(values):
    """Which columns (n, d) have more than two values, (d,) of bool."""
    lowest, highest = values.min(0), values.max(0)
    return ((values > lowest) & (values < highest)).any(0)


class Units(NamedTuple):
    """Centre and spread of each coordinate of X, its column, and the variable it stands for.

    Attributes
    ----------
    center, spread : ndarray (D,)
    column : ndarray (D,) of int
        The column of the table that the coordinate comes from. All columns have coordinates.
    variable : ndarray (D,) of int
        All coordinates of a category have the same number, whether it is a column or columns of
        dummies; otherwise each has its own.
    curved : ndarray (D,) of bool
        Whether a coordinate has more than two values, between which a curve can change distances.
    levels : int
        How many coordinates, the last ones, are 1 for a level of a category and otherwise 0.
    """

    center: np.ndarray
    spread: np.ndarray
    column: np.ndarray
    variable: np.ndarray
    curved: np.ndarray
    levels: int

    @classmethod
    def of(cls, X, weight):
        """The units of numbers X (n, d) with weights (n,)."""
        each = np.arange(X.shape[1])
        return cls(*center_and_spread(X, weight), each, each, has_curve(X), 0)

    def take(self, columns):
        """The units of some coordinates, in their order, whose columns are numbered anew."""
        column = np.unique(self.column[columns], return_inverse=True)[1]
        levels = int(np.count_nonzero(np.asarray(columns) >= len(self.column) - self.levels))
        return Units(
            self.center[columns], self.spread[columns], column, self.variable[columns],
            self.curved[columns], levels,
        )

    @property
    def n_columns(self):
        """How many columns there are, numbered from 0."""
        return int(self.column.max()) + 1

    def lengthscale(self):
        """√d times the spread of each coordinate, for d variables that vary; infinite for others.

        Nothing can be learned about what is constant; with an infinite lengthscale it affects no
        prediction.
        """
        varying = len(np.unique(self.variable[self.spread > 0]))
        return np.where(self.spread > 0, self.spread * np.sqrt(varying), np.inf)
