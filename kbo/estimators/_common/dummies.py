"""Columns of dummies: neighbours of two values each that together stand for one category."""

from __future__ import annotations

import numpy as np

PARTIAL = 3  # columns of a category some of whose levels have none; two may exclude by chance


def dummies(numbers):
    """For each column (n, d) the first column of its category, itself for others: (d,) of int.

    Columns of a category are neighbours, have two values each, and no row has the higher value in
    two of them. Every row has it in one, or there are at least three columns, as there are where
    the first level of a category is left out. Constant columns between them do not count, nor do
    columns with NaN.
    """
    owner = np.arange(numbers.shape[1])
    lowest, highest = numbers.min(0), numbers.max(0)
    varying = np.flatnonzero(highest > lowest)
    present = numbers[:, varying] == highest[varying]
    of_two = (present | (numbers[:, varying] == lowest[varying])).all(0)
    first, end = 0, len(varying)
    while first < end:
        last, taken = first, present[:, first]
        if of_two[first]:
            while last + 1 < end and of_two[last + 1] and not (taken & present[:, last + 1]).any():
                last += 1
                taken = taken | present[:, last]
        count = last - first + 1
        if count >= PARTIAL or (count > 1 and taken.all()):
            owner[varying[first : last + 1]] = varying[first]
        first = last + 1
    return owner


def spread_of_dummies(numbers, owner, weight):
    """Centre and spread (k,) of the columns whose ``owner`` is not themselves alone; and which.

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
