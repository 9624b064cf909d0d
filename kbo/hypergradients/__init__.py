"""Ways to differentiate through the inner problem."""

from .base import Method
from .finite_difference import FiniteDifference
from .implicit import Implicit
from .mean import Mean
from .stochastic import Stochastic

__all__ = ["FiniteDifference", "Implicit", "Mean", "Method", "Stochastic"]
