"""Ways to differentiate through the inner problem."""

from . import linear_solvers
from .base import Method
from .finite_difference import FiniteDifference
from .implicit import Implicit
from .linear_solvers import CG, Direct, Identity, LinearLBFGS, Neumann, NystromInverse, Shine
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
    STFBO,
    SUSTAIN,
    TTSA,
    VRBO,
    AmIGO,
    Penalty,
    SingleLoop,
    Stepper,
    StocBiO,
    as_method,
)
from .stochastic import Stochastic
from .unrolled import Unrolled

__all__ = [
    "BOME",
    "BSA",
    "CG",
    "F2SA",
    "FSLA",
    "MRBO",
    "SABA",
    "SOBA",
    "STFBO",
    "SUSTAIN",
    "TTSA",
    "VRBO",
    "AmIGO",
    "Direct",
    "FiniteDifference",
    "Identity",
    "Implicit",
    "LinearLBFGS",
    "Mean",
    "Method",
    "MinMin",
    "Neumann",
    "NystromInverse",
    "Parametric",
    "Penalty",
    "Shine",
    "SingleLoop",
    "Stepper",
    "StocBiO",
    "Stochastic",
    "Unrolled",
    "as_method",
    "linear_solvers",
]
