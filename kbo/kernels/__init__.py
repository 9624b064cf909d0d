"""Positive semi-definite kernels; each defines one method, ``evaluate(x, z)``, on two points."""

from .base import Composed, Kernel, OnFeatures, OwnKernel, Product, Scaled, Sum, as_kernel
from .dot_product import Linear, Polynomial
from .names import NAMED, register_kernel
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
from .warped import Warped

__all__ = [
    "NAMED", "Composed", "Gaussian", "Kernel", "Laplacian", "Linear", "Matern12", "Matern32",
    "Matern52", "OnFeatures", "OwnKernel", "Periodic", "Polynomial", "Product",
    "RationalQuadratic", "Scaled", "Stationary", "Sum", "Warped", "as_kernel", "register_kernel",
]
