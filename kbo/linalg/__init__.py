"""Kernel products in blocks, BLAS and LAPACK on the host, and conjugate gradients."""

from .blas import (
    Arena,
    add_normal,
    fill_upper,
    outer_product,
    product,
    symmetric_product,
)
from .cg import conjugate_gradients
from .cholesky import JITTERS, Cholesky, SingularSystem
from .kernel_products import (
    TILE,
    cross_gram,
    cross_gram_into,
    gram,
    gram_pairing,
    matmul,
    symmetric_matmul,
    tiled_size,
    with_known_value,
)
from .rp_cholesky import cross, diagonal_of, rp_cholesky
from .threads import blas_threads
from .traced_cg import traced_conjugate_gradients

__all__ = [
    "JITTERS", "TILE", "Arena", "Cholesky", "SingularSystem", "add_normal", "blas_threads",
    "conjugate_gradients", "cross", "cross_gram", "cross_gram_into", "diagonal_of",
    "fill_upper", "gram", "gram_pairing", "matmul", "outer_product", "product", "rp_cholesky",
    "symmetric_matmul", "symmetric_product", "tiled_size",
    "traced_conjugate_gradients", "with_known_value",
]
