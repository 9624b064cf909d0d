"""The reproducing kernel Hilbert space of a kernel."""

from __future__ import annotations

import jax.numpy as jnp

from .. import linalg
from ..kernels import Kernel, as_kernel
from .base import Evaluations, Frozen, Space, replicates_first, replicates_last


class RKHS(Space):
    """H_k: h = Σ_i θ_i k(x_i, ·), ⟨h, a⟩ = Σ_i θ_i a(x_i), one copy per output.

    Parameters
    ----------
    kernel : kbo.kernels.Kernel or callable k(x, z) of two points
    """

    kernel: Kernel

    def __init__(self, kernel):
        self.kernel = as_kernel(kernel)

    def evaluate(self, points, x, coefficients):
        values = linalg.matmul(self.kernel, x, points, replicates_last(coefficients))
        return replicates_first(values, coefficients.shape[0])

    def evaluations(self, x_inner, x_outer, frozen: Frozen) -> Evaluations:
        # Residual form: the coefficients of h and the values of a stay fixed, the kernel moves.
        F = frozen.h.shape[0]
        flat = replicates_last(frozen.h)
        inner = linalg.symmetric_matmul(self.kernel, x_inner, flat, frozen.gram)
        inner = replicates_first(inner, F)
        h_inner = linalg.with_known_value(frozen.h_inner, inner)
        if x_outer is None:
            h_outer = h_inner
        else:
            outer = replicates_first(linalg.matmul(self.kernel, x_outer, x_inner, flat), F)
            h_outer = linalg.with_known_value(frozen.h_outer, outer)
        return Evaluations(h_inner, h_outer, frozen.a, jnp.sum(frozen.h * frozen.a, (1, 2)))
