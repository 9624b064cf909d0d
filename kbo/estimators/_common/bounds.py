"""Tuned values at an end of their range: detection, moving the bounds, and warnings."""

from __future__ import annotations

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ...status import warn_explained

NEAR = 1e-6  # a value this close to an end, as a fraction of the range, is at the end
SHOWN = 3  # maximal number of entries of one parameter that a warning lists


def at_bounds(coordinate, lower, upper):
    """Which entries lie at the lower and which at the upper end of their range.

    Parameters
    ----------
    coordinate : ndarray (...)
        The parameter as the search sees it: its logarithm, if it is searched in logs.
    lower, upper : ndarray (...)
        The ends of the range, as coordinates.

    Returns
    -------
    low, high : ndarray (...) of bool
    """
    margin = NEAR * (upper - lower)
    return coordinate <= lower + margin, coordinate >= upper - margin


def moved_bounds(omega, bounds, reaches):
    """The bounds (lower, upper), moved outwards where ω lies at them; None if it is at none.

    Parameters
    ----------
    omega : pytree of ndarray
    bounds : pair of pytrees like omega
    reaches : pytree like omega
        How far a bound is moved.
    """
    lows, highs = (
        jax.tree.map(lambda *entry, k=k: at_bounds(*entry)[k], omega, *bounds) for k in range(2)
    )
    if not any(hit.any() for hit in jax.tree.leaves((lows, highs))):
        return None
    lower = jax.tree.map(lambda end, reach, hit: end - reach * hit, bounds[0], reaches, lows)
    upper = jax.tree.map(lambda end, reach, hit: end + reach * hit, bounds[1], reaches, highs)
    return lower, upper


def bound_texts(name, coordinate, lower, upper, shown=np.exp):
    """A sentence for each entry of a parameter that lies at an end of its range.

    Parameters
    ----------
    name : str
    coordinate, lower, upper : number or ndarray (...)
        As in ``at_bounds``; the ends may be numbers.
    shown : callable
        Maps a coordinate to the parameter's value in the user's terms.

    Returns
    -------
    list of str
    """
    ends = [np.broadcast_to(np.asarray(end, float), np.shape(coordinate)) for end in (lower, upper)]
    sides = at_bounds(np.asarray(coordinate, float), *ends)
    texts = []
    for index in np.ndindex(np.shape(coordinate)):
        entry = f"{name}{list(index)}" if index else name
        for side, end, word in zip(sides, ends, ("lower", "upper"), strict=True):
            if side[index]:
                texts.append(f"{entry} is at the {word} end of its range, {shown(end[index]):.3g}")
    if len(texts) > SHOWN:
        texts[SHOWN:] = [f"so are {len(texts) - SHOWN} more entries of {name}"]
    return texts


def warn_of_bounds(texts, remedy, stacklevel):
    """Give one ConvergenceWarning with all sentences and the remedy; none if there is no text."""
    if texts:
        message = f"{'; '.join(texts)}: {remedy}"
        warn_explained(message, ConvergenceWarning, stacklevel=stacklevel + 1)
