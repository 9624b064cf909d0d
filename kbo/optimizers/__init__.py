"""Optimisers of the outer variable ω."""

from .base import Optimizer, OutOfTime, projected_gradient
from .black_box import BayesianSearch, BlackBox, GridSearch, RandomSearch
from .descent import GradientDescent, Optax, default_optimizer
from .hoag import HOAG
from .in_stages import InStages
from .lbfgs import LBFGS
from .projected import ProjectedGradient, ProximalGradient
from .proximal import proximal_gradient

__all__ = [
    "HOAG", "LBFGS", "BayesianSearch", "BlackBox", "GradientDescent", "GridSearch",
    "InStages", "Optax", "Optimizer", "OutOfTime", "ProjectedGradient", "ProximalGradient",
    "RandomSearch", "default_optimizer", "projected_gradient", "proximal_gradient",
]
