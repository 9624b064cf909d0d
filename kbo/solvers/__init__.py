"""Solvers of the inner problem and of its adjoint."""

from ..spaces import NeuralFeatures, NeuralSpace, RegularizedFeatures, Subspace
from . import centers
from .auto import Auto
from .base import AdjointSolution, InnerSolution, Solver
from .exact import Exact
from .falkon import Falkon
from .falkon_library import FalkonLibrary
from .full_cg import FullCG
from .gradient import Gradient
from .nystrom import Nystrom
from .proximal import Proximal
from .quasi_newton import QuasiNewton


def default_solver(instance) -> Solver:
    """Exact(), or what spaces of other kinds need: networks, regularized ones, spans of centres.

    Parameters
    ----------
    instance : Instance
        The problem at an ω; its space decides.

    Returns
    -------
    Solver
    """
    if isinstance(instance.space, Subspace):
        return Nystrom()
    if isinstance(instance.space, RegularizedFeatures):
        return Proximal()
    return Gradient() if isinstance(instance.space, NeuralSpace | NeuralFeatures) else Exact()


__all__ = [
    "AdjointSolution", "Auto", "Exact", "Falkon", "FalkonLibrary", "FullCG", "Gradient",
    "InnerSolution", "Nystrom", "Proximal", "QuasiNewton", "Solver", "centers", "default_solver",
]
