"""Regression with instrumental variables: by kernels, by networks, by two-stage least squares."""

from .deep_feature import DeepFeatureIV
from .functional import FuncIVRegressor
from .kernel_iv import KernelIVRegressor
from .strength import WeakInstrumentWarning
from .two_stage import TwoStageLeastSquares

__all__ = [
    "DeepFeatureIV", "FuncIVRegressor", "KernelIVRegressor", "TwoStageLeastSquares",
    "WeakInstrumentWarning",
]
