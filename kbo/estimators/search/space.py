"""Search spaces: the ranges of an estimator's parameters, and their coordinates in ω."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...module import Module

# The least value a parameter may take, by the last part of its name: as a number, and in words.
POSITIVE = np.nextafter(0.0, 1.0), "must be positive (it is searched in logs)"
LOWEST = {"epsilon": (0.0, "may not be negative"), "coef0": (-np.inf, "")}


class Dimension(NamedTuple):
    """One parameter: its range, whether ω holds its logarithm, and its start value.

    Attributes
    ----------
    name : str
    low, high : float
    log : bool
    start : ndarray
        The start value, with the parameter's shape.
    """

    name: str
    low: float
    high: float
    log: bool
    start: np.ndarray

    def coordinate(self, value):
        """The coordinate in ω of a parameter's value: the value, or its logarithm."""
        return np.log(value) if self.log else np.asarray(value, float)

    def value(self, coordinate):
        """The parameter's value at a coordinate of ω, as the estimator takes it."""
        value = np.clip(np.exp(coordinate) if self.log else coordinate, self.low, self.high)
        return float(value) if np.ndim(value) == 0 else np.array(value)

    def line(self, resolution):
        """``resolution`` values over the whole range, evenly spaced in ω's coordinate."""
        ends = self.coordinate(self.low), self.coordinate(self.high)
        line = np.linspace(*ends, resolution)
        return np.exp(line) if self.log else line

    def draw(self, random):
        """A random coordinate, uniform over the range."""
        low, high = self.coordinate(self.low), self.coordinate(self.high)
        return random.uniform(low, high, size=self.start.shape)


def read_dimension(name, given, start) -> Dimension:
    """The Dimension for a range: a list (its range), a pair (low, high) or a SciPy distribution.

    The range of a distribution is its support. An end at infinity, or at zero if the parameter
    must be positive, is replaced by the 0.1 % or the 99.9 % quantile.

    Parameters
    ----------
    name : str
        The full name. The part after its last "__" says which values the parameter may take.
    given : list, tuple, 1-D array or frozen distribution
    start : number or array
        The estimator's own value; the search starts there, or at the nearest end of the range.

    Raises
    ------
    ValueError
        For anything else, a range without two distinct finite ends, values that the parameter may
        not take, or a start that is not finite.
    """
    shown = f"param_space[{name!r}]={given!r}"
    own = name.rsplit("__", 1)[-1]
    lowest, words = LOWEST.get(own, POSITIVE)
    low, high = _ends(given, shown, lowest)
    if low < lowest:
        least = f"{high * 1e-6:.3g}" if high > 0 else "1e-06"
        raise ValueError(
            f"{shown} reaches {low:g}, but {own} {words}: give a range such as "
            f"({max(lowest, 0.0) and least}, {high if high > 0 else 1.0:g})"
        )
    start = np.asarray(start, float)
    if not np.isfinite(start).all():
        raise ValueError(f"the search starts at {name}={start}: set it to a finite number")
    return Dimension(name, low, high, low > 0, np.clip(start, low, high))


def _ends(given, shown, lowest):
    """The ends (low, high) of a range, finite and distinct; ``shown`` names it in messages."""
    if hasattr(given, "support"):
        ends = np.asarray(given.support(), float)
        tails = np.asarray(given.ppf([1e-3, 1 - 1e-3]), float)
        reached = np.isfinite(ends) & ~((ends == 0) & (lowest > 0))
        ends = np.where(reached, ends, tails)
    elif isinstance(given, list | tuple | np.ndarray) and all(map(_is_number, given)):
        ends = np.asarray(given, float)
    else:
        ends = np.empty(0)
    if isinstance(given, tuple):
        if len(ends) == 2 and ends[0] > ends[1]:
            raise ValueError(f"{shown} must be a pair with low < high: give {given[::-1]!r}")
        ends = ends if len(ends) == 2 else ends[:0]
    if ends.size and not np.isfinite(ends).all():
        raise ValueError(f"{shown} must be finite: replace NaN and infinity by numbers")
    if not ends.size or not ends.min() < ends.max():
        raise ValueError(
            f"{shown} must be a list of numbers (its range is searched), a pair (low, high) with "
            "low < high, or a scipy.stats distribution"
        )
    return float(ends.min()), float(ends.max())


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


class Values(Module):
    """ω ↦ a dict of all differentiable parameters by name, searched or fixed.

    Parameters
    ----------
    fixed : dict of str to array
        The parameters that are not searched.
    logs : tuple of (str, bool)
        The names of those searched, and whether ω holds their logarithm.
    """

    fixed: Any
    logs: tuple = eqx.field(static=True)

    @classmethod
    def of(cls, dimensions, defaults):
        """The map for these dimensions; ``defaults`` has the values of the fixed parameters."""
        names = {d.name for d in dimensions}
        fixed = {k: np.asarray(v, float) for k, v in defaults.items() if k not in names}
        return cls(fixed, tuple((d.name, d.log) for d in dimensions))

    def __call__(self, omega):
        searched = {k: jnp.exp(omega[k]) if log else omega[k] for k, log in self.logs}
        return {**self.fixed, **searched}
