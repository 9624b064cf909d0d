"""scikit-learn estimators that tune themselves."""

from .instruments import (
    DeepFeatureIV,
    FuncIVRegressor,
    KernelIVRegressor,
    TwoStageLeastSquares,
    WeakInstrumentWarning,
)
from .kernel import KernelBilevelClassifier, KernelBilevelRegressor
from .power_target import PowerTargetRegressor
from .reweighting import SampleReweightingClassifier, SampleReweightingRegressor
from .search import HypergradientSearchCV, register_adapter

__all__ = [
    "DeepFeatureIV", "FuncIVRegressor", "HypergradientSearchCV", "KernelBilevelClassifier",
    "KernelBilevelRegressor", "KernelIVRegressor", "PowerTargetRegressor",
    "SampleReweightingClassifier", "SampleReweightingRegressor", "TwoStageLeastSquares",
    "WeakInstrumentWarning", "register_adapter",
]
