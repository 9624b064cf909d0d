"""Kernel bilevel optimization: hypergradients through problems posed in spaces of functions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from . import _threads as _threads  # before numpy and scipy
from . import (
    criteria,
    hypergradients,
    kernels,
    losses,
    networks,
    optimizers,
    regularizers,
    solvers,
    spaces,
)
from ._version import __version__
from .compiling import compile_seconds
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
    RegularizedFeatures,
    Subspace,
)
from .stream import Stream

if TYPE_CHECKING:
    from . import datasets, estimators, inspection, metrics
    from .estimators import (
        DeepFeatureIV,
        FuncIVRegressor,
        HypergradientSearchCV,
        KernelBilevelClassifier,
        KernelBilevelRegressor,
        KernelIVRegressor,
        PowerTargetRegressor,
        SampleReweightingClassifier,
        SampleReweightingRegressor,
        TwoStageLeastSquares,
        register_adapter,
    )

# What needs scikit-learn, whose import takes longer than JAX's, is imported when it is asked for.
_MODULES = ("datasets", "estimators", "inspection", "metrics")
_ESTIMATORS = (
    "DeepFeatureIV", "FuncIVRegressor", "HypergradientSearchCV", "KernelBilevelClassifier",
    "KernelBilevelRegressor", "KernelIVRegressor", "PowerTargetRegressor",
    "SampleReweightingClassifier", "SampleReweightingRegressor", "TwoStageLeastSquares",
    "register_adapter",
)


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _ESTIMATORS:
        return getattr(importlib.import_module(".estimators", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})


__all__ = [
    "RKHS", "BilevelError", "BilevelProblem", "BilevelResult", "DeepFeatureIV", "FeatureSpace",
    "FuncIVRegressor", "Function", "Hypergradient", "HypergradientSearchCV",
    "KernelBilevelClassifier", "KernelBilevelRegressor", "KernelIVRegressor", "NeuralFeatures",
    "NeuralSpace", "PowerTargetRegressor", "RandomFourierFeatures", "RegularizedFeatures",
    "Residuals", "Sample", "SampleReweightingClassifier", "SampleReweightingRegressor",
    "StandardErrors", "Status", "StepRecord", "Stream", "Subspace", "TwoStageLeastSquares",
    "__version__",
    "check_hypergradient", "compile_seconds", "criteria", "datasets", "estimators",
    "hypergradients", "inspection", "kernels", "losses", "metrics", "minimize", "networks",
    "optimizers", "outer_objective", "register_adapter", "regularizers", "solve", "solvers",
    "spaces", "standard_errors", "value_and_hypergradient",
]
