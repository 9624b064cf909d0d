"""scikit-learn estimators that tune themselves."""

from .classifier import KernelBilevelClassifier
from .regressor import KernelBilevelRegressor
from .reweighting import SampleReweightingClassifier, SampleReweightingRegressor
from .search import HypergradientSearchCV

__all__ = [
    "HypergradientSearchCV", "KernelBilevelClassifier", "KernelBilevelRegressor",
    "SampleReweightingClassifier", "SampleReweightingRegressor",
]
