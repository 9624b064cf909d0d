"""Solvers of the inner problem and of its adjoint."""

from .base import AdjointSolution, InnerSolution, Solver
from .exact import Exact

__all__ = ["AdjointSolution", "Exact", "InnerSolution", "Solver"]
