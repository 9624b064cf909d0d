"""Kernel bilevel optimization: hypergradients through problems posed in spaces of functions."""

from . import _threads as _threads  # before numpy and scipy
from . import (
    criteria,
    datasets,
    hypergradients,
    kernels,
    losses,
    metrics,
    networks,
    optimizers,
    solvers,
    spaces,
)
from ._version import __version__
from .estimators import (
    DeepFeatureIV,
    FuncIVRegressor,
    HypergradientSearchCV,
    KernelBilevelClassifier,
    KernelBilevelRegressor,
    KernelIVRegressor,
    SampleReweightingClassifier,
    SampleReweightingRegressor,
    TwoStageLeastSquares,
    register_adapter,
)
from .function import Function
from .problem import BilevelProblem, Sample
from .result import BilevelError, BilevelResult, Hypergradient, Residuals, Status, StepRecord
from .search import (
    StandardErrors,
    check_hypergradient,
    minimize,
    outer_objective,
    solve,
    standard_errors,
    value_and_hypergradient,
)
from .spaces import (
    RKHS,
    FeatureSpace,
    NeuralFeatures,
    NeuralSpace,
    RandomFourierFeatures,
    Subspace,
)
from .stream import Stream

__all__ = [
    "RKHS", "BilevelError", "BilevelProblem", "BilevelResult", "DeepFeatureIV", "FeatureSpace",
    "FuncIVRegressor", "Function", "Hypergradient", "HypergradientSearchCV",
    "KernelBilevelClassifier", "KernelBilevelRegressor", "KernelIVRegressor", "NeuralFeatures",
    "NeuralSpace", "RandomFourierFeatures", "Residuals", "Sample", "SampleReweightingClassifier",
    "SampleReweightingRegressor", "StandardErrors", "Status", "StepRecord", "Stream", "Subspace",
    "TwoStageLeastSquares", "__version__", "check_hypergradient", "criteria", "datasets",
    "hypergradients", "kernels", "losses", "metrics", "minimize", "networks", "optimizers",
    "outer_objective", "register_adapter", "solve", "solvers", "spaces", "standard_errors",
    "value_and_hypergradient",
]
