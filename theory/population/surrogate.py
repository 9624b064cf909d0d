"""Large samples in place of a population that has no closed form."""

from __future__ import annotations

import abc

import jax
import numpy as np
from scipy import stats

import kbo

from ..checks import count
from .base import Population


class Surrogate(Population):
    """The oracle of a population, replaced by estimates from samples.

    Parameters
    ----------
    population : Population
        Where samples are drawn from; its own oracle is not used.
    about : str
        A description of the samples, which becomes part of the name.
    solver : kbo.solvers.Solver, default Exact()

    Attributes
    ----------
    error_bound : float
        The largest error over all entries, at the points requested so far.
    """

    def __init__(self, population, about, solver=None):
        self.name = f"{population.name}, {about}"
        self.size, self.box = population.size, population.box
        self.outside = population.outside
        self.quadratic = False
        self._solver = solver or kbo.solvers.Exact()
        self.error_bound = 0.0

    def value_and_grad(self, omega):
        """Estimates of L(ω) and ∇L(ω), (q,); they may raise ``error_bound``."""
        found, error = self._estimate(self._checked(omega))
        self.error_bound = max(self.error_bound, float(error.max()))
        return float(found[0]), found[1:]

    @abc.abstractmethod
    def _estimate(self, omega):
        """Value and gradient (1 + q,), and the error of each entry (1 + q,)."""

    def _at(self, problems, omega):
        """Value and gradient of each empirical problem, (B, 1 + q)."""
        with jax.enable_x64(True):
            at = [kbo.value_and_hypergradient(p, omega, solver=self._solver) for p in problems]
        return np.array([np.append(hg.value, hg.grad) for hg in at])

    def points(self, n, random_state):
        """Refused, as in ``sample``."""
        raise ValueError("draw points from the population that the surrogate stands for")

    def sample(self, n, m, random_state):
        """Refused: samples may not be independent of those that the oracle is made of."""
        raise ValueError("sample from the population that the surrogate stands for")


def three_errors(repeats):
    """How many standard errors, estimated from ``repeats`` values, equal three known ones."""
    return stats.t(repeats - 1).isf(stats.norm.sf(3))


class LargeSamplePopulation(Surrogate):
    """The mean over B samples of size N, extrapolated against samples of half the size.

    With the means over samples of both sizes::

        L ≈ 2 L̄_N − L̄_{N/2}: the bias, of order 1/N, cancels.

    Parameters
    ----------
    population : Population
        Where samples are drawn from; its own oracle is not used.
    size : int
        N, of the inner and of the outer sample, at least 4.
    repeats : int
        B, at least 2: a single sample gives no standard error.
    random_state : int
    solver : kbo.solvers.Solver, default Exact()

    Attributes
    ----------
    error_bound : float
        The standard error times the quantile of Student's t (B − 1 degrees of freedom) that
        corresponds to three standard deviations of a normal variable; the largest over all entries
        at the points requested so far.

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
