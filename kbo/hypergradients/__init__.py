"""Ways to differentiate through the inner problem."""

from . import linear_solvers
from .base import Method
from .finite_difference import FiniteDifference
from .implicit import Implicit
from .linear_solvers import CG, LBFGS, Direct, Identity, Neumann, NystromInverse, Shine
from .mean import Mean
from .min_min import MinMin
from .parametric import Parametric
from .single_loop import (
    BOME,
    BSA,
    F2SA,
    FSLA,
    MRBO,
    SABA,
    SOBA,
    SUSTAIN,
    TTSA,
    VRBO,
    AmIGO,
    Penalty,
    SingleLoop,
    StocBiO,
)
from .stochastic import Stochastic
from .unrolled import Unrolled

__all__ = [
    "BOME", "BSA", "CG", "F2SA", "FSLA", "LBFGS", "MRBO", "SABA", "SOBA", "SUSTAIN", "TTSA", "VRBO",
    "AmIGO", "Direct", "FiniteDifference", "Identity", "Implicit", "Mean", "Method", "MinMin",
    "Neumann", "NystromInverse", "Parametric", "Penalty", "Shine", "SingleLoop", "StocBiO",
    "Stochastic", "Unrolled", "linear_solvers",
]
