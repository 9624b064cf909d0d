"""The reproducing kernel Hilbert space of a kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .. import linalg
from ..kernels import Kernel, as_kernel
from .base import Evaluations, Frozen, Space, replicates_first, replicates_last


class RKHS(Space):
    """H_k: h = Σ_i θ_i k(x_i, ·), ⟨h, a⟩ = Σ_i θ_i a(x_i), one copy per output.

    Parameters
    ----------
    kernel : kbo.kernels.Kernel or callable k(x, z) of two points

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> kbo.RKHS(kbo.kernels.Gaussian(lengthscale=0.5)).kernel
    Gaussian(lengthscale=0.5)
    >>> own = kbo.RKHS(lambda x, z: jnp.exp(-jnp.sum(jnp.abs(x - z))))
    >>> print(f"{own.kernel.evaluate(jnp.array([0.0]), jnp.array([1.0])):.3f}")
    0.368
    """

    kernel: Kernel

    def __init__(self, kernel):
        self.kernel = as_kernel(kernel)

    def evaluate(self, points, x, coefficients):
        values = linalg.matmul(self.kernel, x, points, replicates_last(coefficients))
        return replicates_first(values, coefficients.shape[0])

    def on(self, points, x):
        """coefficients ↦ their values at x; k(x, points) is kept, but not for the reverse pass."""
        gram = jax.checkpoint(lambda x, z: self.kernel.matrix(x, z))(x, points)
        return lambda coefficients: jnp.einsum("ij,fjp->fip", gram, coefficients)

    def square_norm(self, inner, coefficients, values, total=None):
        """‖h‖² = Σ_i θ_i h(x_i), (F,)."""
        return jnp.sum(coefficients * values, (1, 2))

    def start(self, key, inner, p, replicates):
        """Zeros (F, n, p)."""
        return jnp.zeros((replicates, inner.size, p), inner.x.dtype)

    def evaluations(self, inner, outer, frozen: Frozen, shared=False) -> Evaluations:
        # Residual form: the coefficients of h and the values of a are fixed; the kernel moves.
        F = frozen.h.shape[0]
        flat = replicates_last(frozen.h)
        values = linalg.symmetric_matmul(self.kernel, inner.x, flat, frozen.gram)
        h_inner = linalg.with_known_value(frozen.h_inner, replicates_first(values, F))
        if shared:
            h_outer = h_inner
        else:
            values = replicates_first(linalg.matmul(self.kernel, outer.x, inner.x, flat), F)
            h_outer = linalg.with_known_value(frozen.h_outer, values)
        return Evaluations(h_inner, h_outer, frozen.a, jnp.sum(frozen.h * frozen.a, (1, 2)))
