"""Solvers of the inner problem and of its adjoint."""

from ..spaces import NeuralFeatures, NeuralSpace, Subspace
from . import centers
from .auto import Auto
from .base import AdjointSolution, InnerSolution, Solver
from .exact import Exact
from .falkon import Falkon
from .falkon_library import FalkonLibrary
from .full_cg import FullCG
from .gradient import Gradient
from .nystrom import Nystrom
from .quasi_newton import QuasiNewton


def default_solver(instance) -> Solver:
    """Gradient() where networks are to be trained, Nystrom() in a Subspace, Exact() elsewhere."""
    if isinstance(instance.space, Subspace):
        return Nystrom()
    return Gradient() if isinstance(instance.space, NeuralSpace | NeuralFeatures) else Exact()


__all__ = [
    "AdjointSolution", "Auto", "Exact", "Falkon", "FalkonLibrary", "FullCG", "Gradient",
    "InnerSolution", "Nystrom", "QuasiNewton", "Solver", "centers", "default_solver",
]
