"""Ways to differentiate through the inner problem."""

from . import linear_solvers
from .base import Method
from .finite_difference import FiniteDifference
from .implicit import Implicit
from .linear_solvers import CG, Direct, Identity, Neumann
from .mean import Mean
from .parametric import Parametric
from .stochastic import Stochastic
from .unrolled import Unrolled

__all__ = [
    "CG", "Direct", "FiniteDifference", "Identity", "Implicit", "Mean", "Method", "Neumann",
    "Parametric", "Stochastic", "Unrolled", "linear_solvers",
]
