"""Positive semi-definite kernels; each defines one method, ``evaluate(x, z)``, on two points."""

from .base import Composed, Function, Kernel, OnFeatures, Product, Scaled, Sum, as_kernel
from .dot_product import Linear, Polynomial
from .stationary import (
    Gaussian,
    Laplacian,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    RationalQuadratic,
    Stationary,
)

__all__ = [
    "Composed", "Function", "Gaussian", "Kernel", "Laplacian", "Linear", "Matern12", "Matern32",
    "Matern52", "OnFeatures", "Periodic", "Polynomial", "Product", "RationalQuadratic", "Scaled",
    "Stationary", "Sum", "as_kernel",
]
