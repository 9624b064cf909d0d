"""Solvers of the inner problem and of its adjoint."""

from . import centers
from .auto import Auto
from .base import AdjointSolution, InnerSolution, Solver
from .exact import Exact
from .falkon import Falkon
from .falkon_library import FalkonLibrary
from .full_cg import FullCG
from .nystrom import Nystrom

__all__ = [
    "AdjointSolution", "Auto", "Exact", "Falkon", "FalkonLibrary", "FullCG", "InnerSolution",
    "Nystrom", "Solver", "centers",
]
