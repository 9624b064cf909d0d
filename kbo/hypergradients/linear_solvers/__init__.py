"""Approximate solutions of Hv = b from products with H alone, for F systems at once."""

from .base import LinearSolver, Solved
from .closed import Direct, Identity, NystromInverse, Shine
from .iterative import CG, LinearLBFGS, Neumann

__all__ = [
    "CG",
    "Direct",
    "Identity",
    "LinearLBFGS",
    "LinearSolver",
    "Neumann",
    "NystromInverse",
    "Shine",
    "Solved",
]
