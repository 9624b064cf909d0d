"""Approximate solutions of Hv = b from products with H alone, for F systems at once."""

from .base import LinearSolver, Solved
from .closed import Direct, Identity, NystromInverse, Shine
from .iterative import CG, LBFGS, Neumann

__all__ = [
    "CG", "LBFGS", "Direct", "Identity", "LinearSolver", "Neumann", "NystromInverse", "Shine",
    "Solved",
]
