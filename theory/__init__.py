"""Rates of kernel bilevel problems, measured against exact population truths."""

from . import accuracy, compiled, estimators, population, problems, quantities
from .experiment import run_rate_experiment
from .inference import RateFit, fit_rate
from .interval import HypergradientInterval, hypergradient_interval
from .limits import Limit
from .plots import plot_rates
from .records import Records
from .slopes import Slope
from .sweep import run_sweep
from .terms import Term

__all__ = [
    "HypergradientInterval", "Limit", "RateFit", "Records", "Slope", "Term", "accuracy", "compiled",
    "estimators", "fit_rate", "hypergradient_interval", "plot_rates", "population", "problems",
    "quantities", "run_rate_experiment", "run_sweep",
]
