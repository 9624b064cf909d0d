"""scikit-learn estimators that tune themselves."""

from ._iv_strength import WeakInstrumentWarning
from .classifier import KernelBilevelClassifier
from .deep_feature_iv import DeepFeatureIV
from .functional_iv import FuncIVRegressor
from .instrumental import KernelIVRegressor
from .regressor import KernelBilevelRegressor
from .reweighting import SampleReweightingClassifier, SampleReweightingRegressor
from .search import HypergradientSearchCV
from .two_stage import TwoStageLeastSquares

__all__ = [
    "DeepFeatureIV", "FuncIVRegressor", "HypergradientSearchCV", "KernelBilevelClassifier",
    "KernelBilevelRegressor", "KernelIVRegressor", "SampleReweightingClassifier",
    "SampleReweightingRegressor", "TwoStageLeastSquares", "WeakInstrumentWarning",
]
