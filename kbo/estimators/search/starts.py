"""A second start for a search that began or ended where the criterion is flat."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import qmc

POINTS = 16  # number of points of the design
FAR = 30.0  # lengthscales are tried within this factor of the median distance of the points
ROWS = 200  # roughly the number of points in the median of distances
UNMOVED = 1e-2  # a parameter that moved by no more than this fraction of its range has not moved
TRIVIAL = 1e-2  # predictions that spread less, relative to the targets, count as constant
FLAT = 1e-4  # values of L that differ by no more than this fraction count as equal


class Look(NamedTuple):
    """The conclusion from evaluating L at a few points of the ranges.

    Attributes
    ----------
    start : dict or None
        ω from which another search may reach a lower value.
    flat : bool
        Whether the criterion is the same at all points evaluated.
    """

    start: Any
    flat: bool


def look_around(search, result, in_time) -> Look:
    """Evaluate L on a Halton design over the ranges, and choose where to search from next.

    The start is the lowest point of the design, if L is lower there than at the end of the search.
    If the search ended at constant predictions, or without a finite value, the start is the lowest
    point whose value differs from that.

    Parameters
    ----------
    search : SearchProblem
    result : BilevelResult
        The end of the search so far.
    in_time : callable
        () ↦ whether there is time for another evaluation.
    """
    points, values = [], []
    for omega in _design(search):
        if not in_time():
            break
        points.append(omega)
        values.append(search.value(omega))
    values, level = np.array(values), result.value
    finite = np.isfinite(values)
    if not finite.any():
        return Look(None, False)
    if np.isfinite(level):
        apart = finite & (np.abs(values - level) > FLAT * abs(level))
        if not apart.any():
            return Look(None, True)
        finite = apart if is_flat(search, result) else apart & (values < level)
    lowest = np.where(finite, values, np.inf).argmin()
    return Look(points[lowest] if finite.any() else None, False)


def _design(search):
    """Points ω spread over the ranges; all entries of an array-valued parameter are equal."""
    distance = _distance(search.problem.inner_data)
    ends = [_ends(d, search.adapter.gamma_power, distance) for d in search.dimensions]
    for shares in qmc.Halton(len(ends), scramble=False).random(POINTS + 1)[1:]:
        yield {
            d.name: np.full(d.start.shape, low + share * (high - low))
            for d, share, (low, high) in zip(search.dimensions, shares, ends, strict=True)
        }


def _ends(dimension, gamma_power, distance):
    """A range in ω's coordinate; for a lengthscale, only the part near the points' distances."""
    low, high = dimension.coordinate(dimension.low), dimension.coordinate(dimension.high)
    own = dimension.name.rsplit("__", 1)[-1]
    power = {"lengthscale": 1, "length_scale": 1, "gamma": gamma_power}.get(own)
    if power is None or not dimension.log or not distance > 0:
        return low, high
    middle, reach = power * np.log(distance), abs(power) * np.log(FAR)
    near = np.clip([middle - reach, middle + reach], low, high)
    return (low, high) if near[0] == near[1] else tuple(near)


def _distance(sample):
    """The median pairwise distance among about ROWS of the points of positive weight."""
    x = np.asarray(sample.x)[np.asarray(sample.weights).max(0) > 0]
    return float(np.median(pdist(x[:: -(-len(x) // ROWS)]))) if len(x) > 1 else 0.0


def is_stuck(search, start, result) -> bool:
    """Whether a search ended for lack of a useful gradient, so that another start should be tried.

    This is so if some parameter has hardly moved (its gradient vanished at the start), if the
    predictions are constant (the gradient does not lead away), or if there is no finite value.
    """
    if not np.isfinite(result.value):
        return True
    for d in search.dimensions:
        ends = d.coordinate(d.low), d.coordinate(d.high)
        if np.max(np.abs(result.omega[d.name] - start[d.name])) <= UNMOVED * (ends[1] - ends[0]):
            return True
    return is_flat(search, result)


def is_flat(search, result) -> bool:
    """Whether held-out predictions hardly vary, relative to the spread of the targets."""
    inner, outer = search.problem.inner_data, search.problem.outer_data
    tested = np.asarray(outer.weights) > 0
    h = np.asarray(result.function(outer.x))
    h = h.reshape(*tested.shape, -1)[tested]
    known = np.asarray(inner.weights).max(0) > 0
    y = np.asarray(inner.target, float).reshape(len(known), -1)[known]
    return bool(h.std(0).max() <= TRIVIAL * y.std(0).max())
