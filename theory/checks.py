"""Checks of arguments: each error names the argument and says what it must be."""

from __future__ import annotations

import zlib
from numbers import Real

import numpy as np


def positive(name, value) -> float:
    """``value`` as a float; ValueError unless it is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < np.inf:
        raise ValueError(f"{name}={value!r} must be a finite number above 0")
    return float(value)


def count(name, value, least) -> int:
    """``value`` as an int; ValueError unless it is an integer of at least ``least``."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or value < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}")
    return int(value)


def share(name, value) -> float:
    """``value`` as a float; ValueError unless it lies strictly between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1:
        raise ValueError(f"{name}={value!r} must lie between 0 and 1: write 0.95 for 95 %")
    return float(value)


def point(name, value, size) -> np.ndarray:
    """``value`` as an array; ValueError unless it is a finite vector of ``size`` numbers."""
    vector = np.asarray(value, float)
    if vector.shape != (size,) or not np.isfinite(vector).all():
        shown = f"has shape {vector.shape}" if vector.shape != (size,) else f"is {vector}"
        raise ValueError(f"{name} {shown}: it must be {size} finite numbers")
    return vector


def box(name, value):
    """``value`` as two arrays; ValueError unless they are finite vectors (q,) with low ≤ high."""
    low, high = (np.atleast_1d(np.asarray(side, float)) for side in value)
    finite = np.isfinite(low).all() and np.isfinite(high).all()
    if low.ndim != 1 or low.shape != high.shape or not finite or (low > high).any():
        raise ValueError(f"{name}={value!r} must be two finite vectors (q,), low ≤ high")
    return low, high


def stream(use, random_state) -> np.random.Generator:
    """A random generator for one named use of a seed, independent of the seed's other uses.

    Parameters
    ----------
    use : str
    random_state : int, sequence of int, SeedSequence, or a Generator, which is returned as it is
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    seed = random_state
    if not isinstance(seed, np.random.SeedSequence):
        seed = np.random.SeedSequence(random_state)
    key = (*seed.spawn_key, zlib.crc32(use.encode()))
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=key))
