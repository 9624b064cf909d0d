"""Columns of dummies: neighbours of two values each that together stand for one category."""

from __future__ import annotations

import numpy as np

LEAST_ROWS = 10  # with fewer, columns may cover all rows, each once, by chance
LEAST_CLASHES = 10.0  # that columns which clash in no row would have if they were independent


def dummies(numbers):
    """For each column (n, d) the first column of its category, itself for others: (d,) of int.

    Columns of a category are neighbours, have two values each, and no row has the higher value in
    two of them. Either every row has it in one, or independent columns of the same frequencies
    would clash in at least 10 rows, as those of a category whose first level is left out would.
    Constant columns between them do not count, nor do columns with NaN.
    """
    owner = np.arange(numbers.shape[1])
    if len(numbers) < LEAST_ROWS:
        return owner
    lowest, highest = numbers.min(0), numbers.max(0)
    varying = np.flatnonzero(highest > lowest)
    present = numbers[:, varying] == highest[varying]
    free = (present | (numbers[:, varying] == lowest[varying])).all(0)
    for enough in (_complete, _significant):  # a flag beside a whole category is not its level
        first = 0
        while first < len(varying):
            last = _last(present, free, first)
            if last > first and enough(present[:, first : last + 1]):
                owner[varying[first : last + 1]] = varying[first]
                free[first : last + 1] = False
                first = last
            elif last + 1 == len(varying) or not free[last + 1]:
                first = last  # without a clash, runs that begin later have even less
            first += 1
    return owner


def _last(present, free, first):
    """The last column up to which no row is in two of the columns from the first on."""
    last, taken = first, present[:, first]
    while free[first] and last + 1 < len(free) and free[last + 1]:
        if (taken & present[:, last + 1]).any():
            break
        last += 1
        taken = taken | present[:, last]
    return last


def _complete(present):
    return present.any(1).all()


def _significant(present):
    share = present.mean(0)
    clashes = 0.5 * (share.sum() ** 2 - np.sum(share**2))  # Σ_{i<j} p_i p_j
    return len(present) * clashes >= LEAST_CLASHES


def spread_of_dummies(numbers, owner, weight):
    """Centre and spread (k,) of the columns that share their ``owner`` with others; and which.

    Two rows drawn at random are √2 spreads apart, as they are in a column of numbers.

    Returns
    -------
    center, spread : ndarray (k,)
    columns : ndarray (k,) of int
    """
    columns = np.flatnonzero(np.bincount(owner, minlength=len(owner))[owner] > 1)
    chosen = numbers[:, columns]
    lowest, step = chosen.min(0), np.ptp(chosen, axis=0)
    share = np.average((chosen - lowest) / step, axis=0, weights=weight)
    own = np.unique(owner[columns], return_inverse=True)[1]
    squares = np.bincount(own, share * (1 - share))[own]
    return lowest + share * step, np.sqrt(squares) * step, columns
