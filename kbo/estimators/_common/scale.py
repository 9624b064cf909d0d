"""Centre and spread of each column: in its own units, and blind to a few wild cells."""

from __future__ import annotations

import numpy as np

NORMAL = 1.4826  # standard deviations per median absolute deviation, of normal values
FAR = 6.0  # so many robust standard deviations from the median a value is held to be


def _medians(values, weight):
    """The weighted median of each column, midway between the two that tie; weights (n, d)."""
    order = np.argsort(values, axis=0, kind="stable")
    values = np.take_along_axis(values, order, 0)
    reached = np.cumsum(np.take_along_axis(weight, order, 0), axis=0)
    half = 0.5 * reached[-1]
    ends = [(reached >= half * (1 - 1e-12)).argmax(0), (reached > half * (1 + 1e-12)).argmax(0)]
    lower, upper = np.take_along_axis(values, np.array(ends), 0)
    return 0.5 * (lower + upper)


def within_reach(values, weight):
    """The values, those that lie far from their column's median moved to where far begins.

    Far is more than six robust standard deviations, by the median distance from the median of
    those values that differ from it: half of a column may be zeros, as dummies and counts are.

    Parameters
    ----------
    values : ndarray (n, d)
    weight : ndarray (n,)

    Returns
    -------
    ndarray (n, d)
    distance : ndarray (d,)
        The typical one from the median, zero for constant columns.
    """
    weight = np.broadcast_to(weight[:, None], values.shape)
    median = _medians(values, weight)
    distance = np.abs(values - median)
    distance[distance <= 1e-12 * np.abs(median)] = 0.0
    typical = _medians(distance, weight * (distance > 0))
    reach = FAR * NORMAL * typical
    return np.clip(values, median - reach, median + reach), typical


def center_and_spread(values, weight):
    """Mean and standard deviation of each column, of ``within_reach``; (d,) each.

    The spread is half the typical distance from the median at least, so that a rare dummy is in
    the same units as one that splits the sample in halves, and zero for a constant column only.
    """
    near, typical = within_reach(values, weight)
    share = weight / weight.sum()
    center = share @ near
    spread = np.sqrt(share @ (near - center) ** 2)
    return center, np.where(typical > 0, np.maximum(spread, 0.5 * typical), 0.0)
