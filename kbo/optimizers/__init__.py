"""Optimisers of the outer variable ω."""

from .base import Optimizer, OutOfTime, projected_gradient
from .black_box import BayesianSearch, BlackBox, GridSearch, RandomSearch
from .descent import GradientDescent, Optax, default_optimizer
from .hoag import HOAG
from .lbfgs import LBFGS
from .proximal import L1, NonNegative, proximal_gradient
from .tied_first import TiedFirst

__all__ = [
    "HOAG", "L1", "LBFGS", "BayesianSearch", "BlackBox", "GradientDescent", "GridSearch",
    "NonNegative", "Optax", "Optimizer", "OutOfTime", "RandomSearch", "TiedFirst",
    "default_optimizer",
    "projected_gradient", "proximal_gradient",
]
