"""Where functions live: RKHS and finite feature spaces."""

from .base import Evaluations, Frozen, Space
from .features import FeatureSpace, RandomFourierFeatures
from .rkhs import RKHS

__all__ = ["RKHS", "Evaluations", "FeatureSpace", "Frozen", "RandomFourierFeatures", "Space"]
