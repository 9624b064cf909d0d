"""Spaces of functions: an RKHS, the subspace spanned by centres, finite features, networks."""

from .base import Evaluations, Frozen, Space
from .features import FeatureSpace, RandomFourierFeatures
from .neural import L2, NeuralFeatures, NeuralSpace, Sobolev
from .regularized import RegularizedFeatures
from .rkhs import RKHS
from .subspace import Restriction, Subspace

__all__ = [
    "L2", "RKHS", "Evaluations", "FeatureSpace", "Frozen", "NeuralFeatures", "NeuralSpace",
    "RandomFourierFeatures", "RegularizedFeatures", "Restriction", "Sobolev", "Space", "Subspace",
]
