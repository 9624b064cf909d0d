"""Large samples in the place of a population that has no closed form."""

from __future__ import annotations

import abc

import jax
import numpy as np
from scipy import stats

import kbo

from ..checks import count
from .base import Population


class Surrogate(Population):
    """The oracle of a population, replaced by estimates from samples of it.

    Parameters
    ----------
    population : Population
        Where samples come from; its own oracle is not used.
    about : str
        What the samples are; part of the name.
    solver : kbo.solvers.Solver, default Exact()

    Attributes
    ----------
    error_bound : float
        For the entry known worst, at the points asked for so far.
    """

    def __init__(self, population, about, solver=None):
        self.name = f"{population.name}, {about}"
        self.size, self.box = population.size, population.box
        self.outside = population.outside
        self.quadratic = False
        self._solver = solver or kbo.solvers.Exact()
        self.error_bound = 0.0

    def value_and_grad(self, omega):
        """See Population."""
        found, error = self._estimate(self._checked(omega))
        self.error_bound = max(self.error_bound, float(error.max()))
        return float(found[0]), found[1:]

    @abc.abstractmethod
    def _estimate(self, omega):
        """Value and gradient, and the error of each, (1 + q,) both."""

    def _at(self, problems, omega):
        """Value and gradient of each empirical problem, (B, 1 + q)."""
        with jax.enable_x64(True):
            at = [kbo.value_and_hypergradient(p, omega, solver=self._solver) for p in problems]
        return np.array([np.append(hg.value, hg.grad) for hg in at])

    def points(self, n, random_state):
        """See Population."""
        raise ValueError("draw points from the population that the surrogate stands for")

    def sample(self, n, m, random_state):
        """See Population: parts of what the oracle itself was made of would not be independent."""
        raise ValueError("sample from the population that the surrogate stands for")


def three_errors(repeats):
    """How many standard errors, estimated from so many repeats, are as sure as three known ones."""
    return stats.t(repeats - 1).isf(stats.norm.sf(3))


class LargeSamplePopulation(Surrogate):
    """The mean over B samples of size N, extrapolated against samples of half the size.

        L ≈ 2 L̄_N − L̄_{N/2}: the bias, of order 1/N, cancels.

    Parameters
    ----------
    population : Population
        Where samples come from; its own oracle is not used.
    size : int
        N, of the inner and of the outer sample, at least 4.
    repeats : int
        B, at least 2: one sample shows no spread.
    random_state : int
    solver : kbo.solvers.Solver, default Exact()

    Attributes
    ----------
    error_bound : float
        What three standard errors are to a normal variable (a quantile of Student's t with B − 1
        degrees of freedom), of the entry known worst, at the points asked for so far.

    Raises
    ------
    ValueError
        For fewer than two repeats or four points.
    """

    def __init__(self, population, size=2000, repeats=8, random_state=0, solver=None):
        size, repeats = count("size", size, 4), count("repeats", repeats, 2)
        super().__init__(population, f"samples of {size}", solver)
        seeds = np.random.SeedSequence(random_state).spawn(2 * repeats)
        self._large = [population.sample(size, size, s) for s in seeds[:repeats]]
        self._small = [population.sample(size // 2, size // 2, s) for s in seeds[repeats:]]

    def _estimate(self, omega):
        large, small = (self._at(problems, omega) for problems in (self._large, self._small))
        variance = (4 * large.var(0, ddof=1) + small.var(0, ddof=1)) / len(large)
        return 2 * large.mean(0) - small.mean(0), three_errors(len(large)) * np.sqrt(variance)
