"""Search spaces: ranges of an estimator's parameters, as coordinates of ω."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np


class Dimension(NamedTuple):
    """One parameter: its range, whether ω holds its logarithm, and its start value.

    Attributes
    ----------
    name : str
    low, high : float
    log : bool
    start : ndarray
        Of the parameter's own shape.
    """

    name: str
    low: float
    high: float
    log: bool
    start: np.ndarray

    def coordinate(self, value):
        """The parameter as ω holds it."""
        return np.log(value) if self.log else np.asarray(value, float)

    def value(self, coordinate):
        """ω's entry as the estimator is given it: a float, or an array."""
        value = np.clip(np.exp(coordinate) if self.log else coordinate, self.low, self.high)
        return float(value) if np.ndim(value) == 0 else np.array(value)

    def line(self, resolution):
        """So many values over the range, evenly spaced as ω holds them."""
        ends = self.coordinate(self.low), self.coordinate(self.high)
        line = np.linspace(*ends, resolution)
        return np.exp(line) if self.log else line

    def draw(self, random):
        """A start from the whole range."""
        low, high = self.coordinate(self.low), self.coordinate(self.high)
        return random.uniform(low, high, size=self.start.shape)


def read_dimension(name, given, start) -> Dimension:
    """A list (its range), a pair (low, high) or a SciPy distribution (its support).

    Parameters
    ----------
    name : str
    given : list, tuple or frozen distribution
    start : number or array
        The estimator's own value: the search starts there, or where the range comes nearest.

    Raises
    ------
    ValueError
        For anything else, or a range without two finite ends.
    """
    if hasattr(given, "support"):
        ends = np.asarray(given.support(), float)
        tails = np.asarray(given.ppf([1e-3, 1 - 1e-3]), float)
        ends = np.where(np.isfinite(ends), ends, tails)
    elif isinstance(given, list | tuple | np.ndarray) and len(given) >= 2:
        try:
            values = np.asarray(given, float)
        except (TypeError, ValueError):
            values = np.empty(0)
        if isinstance(given, tuple) and (len(given) != 2 or not values[0] < values[-1]):
            values = np.empty(0)
        ends = np.array([values.min(), values.max()]) if values.ndim == 1 and values.size else None
    else:
        ends = None
    if ends is None or not np.isfinite(ends).all() or not ends[0] < ends[1]:
        raise ValueError(
            f"param_space[{name!r}]={given!r} must be a list of numbers (its range is searched), a "
            "pair (low, high) with low < high, or a scipy.stats distribution"
        )
    low, high = map(float, ends)
    return Dimension(name, low, high, low > 0, np.clip(np.asarray(start, float), low, high))


class Values(eqx.Module):
    """ω ↦ the parameters by name: those searched, and the others as they are.

    Parameters
    ----------
    fixed : dict of str to array
    logs : tuple of (str, bool)
        What ω holds, and whether as a logarithm.
    """

    fixed: Any
    logs: tuple = eqx.field(static=True)

    @classmethod
    def of(cls, dimensions, defaults):
        """From the dimensions, and values for parameters that are none."""
        names = {d.name for d in dimensions}
        fixed = {k: np.asarray(v, float) for k, v in defaults.items() if k not in names}
        return cls(fixed, tuple((d.name, d.log) for d in dimensions))

    def __call__(self, omega):
        searched = {k: jnp.exp(omega[k]) if log else omega[k] for k, log in self.logs}
        return {**self.fixed, **searched}
