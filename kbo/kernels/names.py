"""Kernels by name, as the estimators' ``kernel=`` knows them.

A class is constructed with ``lengthscale`` alone (and ``center``, if it has such a field): (d,)
values in the units of the data, which the estimators choose. Its other numbers start at their
defaults, and are tuned if they are positive and not listed in its ``fixed``.
"""

from __future__ import annotations

from ..registry import Registry
from .base import Kernel
from .dot_product import Linear, Polynomial
from .stationary import Gaussian, Laplacian, Matern12, Matern32, Matern52, RationalQuadratic

NAMED = Registry(
    Kernel, ("lengthscale",), gaussian=Gaussian, laplacian=Laplacian, matern12=Matern12,
    matern32=Matern32, matern52=Matern52, rational_quadratic=RationalQuadratic, linear=Linear,
    polynomial=Polynomial,
)
register_kernel = NAMED.register
