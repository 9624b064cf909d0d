"""The outer problem: its preparation, evaluation and minimisation, and reports on the result."""

from .check import HypergradientReport, check_hypergradient
from .session import Session, prepare
from .solving import Solution, outer_objective, solve
from .uncertainty import StandardErrors, standard_errors
from .verbs import minimize, value_and_hypergradient

__all__ = [
    "HypergradientReport", "Session", "Solution", "StandardErrors", "check_hypergradient",
    "minimize", "outer_objective", "prepare", "solve", "standard_errors", "value_and_hypergradient",
]
