"""Kernel products in blocks, BLAS and LAPACK on the host, conjugate gradients."""

from .blas import Arena, outer_product, product, symmetric_product
from .cg import conjugate_gradients
from .cholesky import JITTERS, Cholesky, SingularSystem
from .kernel_products import (
    TILE,
    cross_gram,
    cross_gram_into,
    gram,
    matmul,
    symmetric_matmul,
    tiled_size,
    with_known_value,
)

__all__ = [
    "JITTERS", "TILE", "Arena", "Cholesky", "SingularSystem", "conjugate_gradients", "cross_gram",
    "cross_gram_into", "gram", "matmul", "outer_product", "product", "symmetric_matmul",
    "symmetric_product", "tiled_size", "with_known_value",
]
