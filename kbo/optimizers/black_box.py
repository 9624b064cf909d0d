"""Searches that use values only: baselines for search by gradient."""

from __future__ import annotations

import abc
import itertools

import equinox as eqx
import numpy as np

from ..result import Status
from .base import Optimizer


class BlackBox(Optimizer):
    """Tries points of the box one by one, and reports each that is better than all before.

    ``minimize`` must be given finite ``bounds``. A gradient is computed only at the end, at the
    best point. There is no tolerance to meet, so that the status is STEPS_EXHAUSTED.
    """

    @abc.abstractmethod
    def trials(self, lower, upper):
        """A generator of points from ``lower`` to ``upper``, to which their values are sent."""

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """Evaluate all trials, and report each new best point."""
        if not (np.isfinite(lower) & np.isfinite(upper)).all():
            raise ValueError(
                f"optimizer={type(self).__name__} searches a box: give minimize finite bounds"
            )
        best, lowest = omega, evaluate(omega, gradient=False)[0]
        trials = self.trials(lower, upper)
        value = None
        while True:
            try:
                point = trials.send(value)
            except StopIteration:
                break
            value = evaluate(point, gradient=False)[0]
            if value < lowest:
                best, lowest = point, value
                report(best)
        if not np.isfinite(lowest):
            return Status.NON_FINITE
        evaluate(best)
        report(best)
        return Status.STEPS_EXHAUSTED


class GridSearch(BlackBox):
    """The k^q points of a regular grid over the box, its ends included.

    Parameters
    ----------
    points : int
        k, at least 2.
    """

    points: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        if self.points < 2:
            raise ValueError(f"points={self.points!r} must be at least 2")

    def trials(self, lower, upper):
        """The points of the grid, in lexicographic order."""
        axes = [np.linspace(*ends, self.points) for ends in zip(lower, upper, strict=True)]
        for point in itertools.product(*axes):
            yield np.array(point)


class Drawn(BlackBox):
    """Searches with a given number of random trials.

    Parameters
    ----------
    n_trials : int
    seed : int
    """

    n_trials: int = eqx.field(static=True, default=100)
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        if self.n_trials < 1:
            raise ValueError(f"n_trials={self.n_trials!r} must be at least 1")


class RandomSearch(Drawn):
    """Points drawn uniformly from the box.

    Parameters
    ----------
    n_trials : int
    seed : int

    References
    ----------
    Bergstra, Bengio (2012), Random Search for Hyper-Parameter Optimization.
    """

    def trials(self, lower, upper):
        """Points drawn uniformly from the box."""
        random = np.random.default_rng(self.seed)
        for _ in range(self.n_trials):
            yield random.uniform(lower, upper)


class BayesianSearch(Drawn):
    """Points proposed by Optuna's tree-structured Parzen estimator (needs the package optuna).

    Parameters
    ----------
    n_trials : int
    seed : int

    References
    ----------
    Bergstra et al. (2011), Algorithms for Hyper-Parameter Optimization.
    """

    def trials(self, lower, upper):
        """Points proposed by Optuna's sampler, which is told the value at each."""
        try:
            import optuna
        except ImportError as error:
            raise ImportError("BayesianSearch needs optuna: pip install 'kbo[bench]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.seed))
        for _ in range(self.n_trials):
            trial = study.ask()
            value = yield np.array([
                trial.suggest_float(f"x{k}", *ends)
                for k, ends in enumerate(zip(lower, upper, strict=True))
            ])
            if np.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
