"""scikit-learn estimators that tune themselves."""

from .classifier import KernelBilevelClassifier
from .regressor import KernelBilevelRegressor
from .search import HypergradientSearchCV

__all__ = ["HypergradientSearchCV", "KernelBilevelClassifier", "KernelBilevelRegressor"]
