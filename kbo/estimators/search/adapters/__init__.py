"""Adapters that pose estimators as bilevel problems in their own parameters, by family."""

from . import gaussian_process, kbo, kernels, linear
from .base import ADAPTERS, Adapter, Classifier, Part, n_outputs, register_adapter, samples
from .parts import FixedSpace, KernelOf, RidgeOf, Shifted, ValueOf

__all__ = [
    "ADAPTERS", "Adapter", "Classifier", "FixedSpace", "KernelOf", "Part", "RidgeOf", "Shifted",
    "ValueOf", "gaussian_process", "kbo", "kernels", "linear", "n_outputs", "register_adapter",
    "samples",
]
