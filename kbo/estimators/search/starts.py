"""Other starts for a search that began or ended where the criterion is flat."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import qmc

POINTS = 16  # of the design
FAR = 30.0  # times the points' distance, or its part: lengthscales beyond are the last to try
ROWS = 200  # whose distances are looked at
UNMOVED = 1e-2  # of its range: what a parameter moves at least, if its gradient tells anything
TRIVIAL = 1e-2  # of the targets' spread: predictions that spread less are constant
FLAT = 1e-4  # of L: values that differ less are one


class Look(NamedTuple):
    """What a few values over the ranges say.

    Attributes
    ----------
    start : dict or None
        ω from which another search may lead further down.
    flat : bool
        Whether the criterion is the same wherever it was looked at.
    """

    start: Any
    flat: bool


def look_around(search, result, in_time) -> Look:
    """Values of L on a Halton design over the ranges, and where to search from next.

    A point is a start if L is lower there than where the search ended; if that was a constant
    function, or no value at all, any point off its level is one, the lowest first.

    Parameters
    ----------
    search : SearchProblem
    result : BilevelResult
        Of the search so far.
    in_time : callable
        Whether there is time for another value.
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
        finite = apart if is_constant(search, result) else apart & (values < level)
    lowest = np.where(finite, values, np.inf).argmin()
    return Look(points[lowest] if finite.any() else None, False)


def _design(search):
    """Points spread over the ranges as ω holds them; the numbers of one parameter are equal."""
    distance = _distance(search.problem.inner_data)
    ends = [_ends(d, search.adapter.gamma_power, distance) for d in search.dimensions]
    for shares in qmc.Halton(len(ends), scramble=False).random(POINTS + 1)[1:]:
        yield {
            d.name: np.full(d.start.shape, low + share * (high - low))
            for d, share, (low, high) in zip(search.dimensions, shares, ends, strict=True)
        }


def _ends(dimension, gamma_power, distance):
    """A range as ω holds it; of a lengthscale, the part that is near the points' distances."""
    low, high = dimension.coordinate(dimension.low), dimension.coordinate(dimension.high)
    own = dimension.name.rsplit("__", 1)[-1]
    power = {"lengthscale": 1, "length_scale": 1, "gamma": gamma_power}.get(own)
    if power is None or not dimension.log or not distance > 0:
        return low, high
    middle, reach = power * np.log(distance), abs(power) * np.log(FAR)
    near = np.clip([middle - reach, middle + reach], low, high)
    return (low, high) if near[0] == near[1] else tuple(near)


def _distance(sample):
    """The median distance between some of the points that have weight."""
    x = np.asarray(sample.x)[np.asarray(sample.weights).max(0) > 0]
    return float(np.median(pdist(x[:: -(-len(x) // ROWS)]))) if len(x) > 1 else 0.0


def is_stuck(search, start, result) -> bool:
    """Whether the end of a search says too little to be believed.

    That is where some parameter has hardly moved (its gradient vanished at the start), where
    predictions are constant (no gradient tells how to get away), or where there is no value.
    """
    if not np.isfinite(result.value):
        return True
    for d in search.dimensions:
        ends = d.coordinate(d.low), d.coordinate(d.high)
        if np.max(np.abs(result.omega[d.name] - start[d.name])) <= UNMOVED * (ends[1] - ends[0]):
            return True
    return is_constant(search, result)


def is_constant(search, result) -> bool:
    """Whether the predictions of the samples left out hardly spread beside the targets."""
    inner, outer = search.problem.inner_data, search.problem.outer_data
    tested = np.asarray(outer.weights) > 0
    h = np.asarray(result.function(outer.x))
    h = h.reshape(*tested.shape, -1)[tested]
    known = np.asarray(inner.weights).max(0) > 0
    y = np.asarray(inner.target, float).reshape(len(known), -1)[known]
    return bool(h.std(0).max() <= TRIVIAL * y.std(0).max())
