"""Kernel regression and classification that tune themselves."""

from .classifier import KernelBilevelClassifier
from .regressor import KernelBilevelRegressor

__all__ = ["KernelBilevelClassifier", "KernelBilevelRegressor"]
