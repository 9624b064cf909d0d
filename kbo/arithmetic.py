"""In which precision kbo computes, whatever the process-wide settings."""

from __future__ import annotations

import contextlib

import jax


@contextlib.contextmanager
def arithmetic(double):
    """float64 if ``double``; products of float32 matrices in float32.

    On a GPU, JAX by default multiplies float32 matrices with 10 bits of mantissa (TF32): distances
    between close points, and all that solves with them, are then noise. Who wants that speed for
    networks sets ``jax_default_matmul_precision`` and is obeyed.
    """
    with contextlib.ExitStack() as stack:
        if double:
            stack.enter_context(jax.enable_x64(True))
        if jax.config.jax_default_matmul_precision is None:
            stack.enter_context(jax.default_matmul_precision("highest"))
        yield
