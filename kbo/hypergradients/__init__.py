"""Ways to differentiate through the inner problem."""

from . import linear_solvers
from .base import Method
from .finite_difference import FiniteDifference
from .implicit import Implicit
from .linear_solvers import CG, LBFGS, Direct, Identity, Neumann, NystromInverse, Shine
from .mean import Mean
from .min_min import MinMin
from .parametric import Parametric
from .stochastic import Stochastic
from .unrolled import Unrolled

__all__ = [
    "CG", "LBFGS", "Direct", "FiniteDifference", "Identity", "Implicit", "Mean", "Method", "MinMin",
    "Neumann", "NystromInverse", "Parametric", "Shine", "Stochastic", "Unrolled", "linear_solvers",
]
