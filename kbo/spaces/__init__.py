"""Where functions live: RKHS, the subspace that centres span, and finite feature spaces."""

from .base import Evaluations, Frozen, Space
from .features import FeatureSpace, RandomFourierFeatures
from .rkhs import RKHS
from .subspace import Restriction, Subspace

__all__ = [
    "RKHS", "Evaluations", "FeatureSpace", "Frozen", "RandomFourierFeatures", "Restriction",
    "Space", "Subspace",
]
