"""In which precision, and by which rules of JAX, kbo computes, whatever the process's settings."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np


@contextlib.contextmanager
def arithmetic(double):
    """float64 if ``double``; products of float32 matrices in float32.

    On a GPU, JAX by default multiplies float32 matrices with 10 bits of mantissa (TF32): distances
    between close points, and all that solves with them, are then noise. Who wants that speed for
    networks sets ``jax_default_matmul_precision`` and is obeyed.

    Rules by which a process forbids itself implicit transfers and promotions of rank are for its
    own code: kbo hands NumPy arrays to compiled programs, and broadcasts, on purpose.
    """
    with contextlib.ExitStack() as stack:
        if double:
            stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.transfer_guard("allow"))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        if jax.config.jax_default_matmul_precision is None:
            stack.enter_context(jax.default_matmul_precision("highest"))
        yield


def arrays(tree, dtype):
    """Every floating number and array of ``tree`` as a jax array of one dtype."""

    def convert(leaf):
        number = isinstance(leaf, float | np.floating | np.ndarray | jax.Array)
        return jnp.asarray(leaf, dtype) if number and np.asarray(leaf).dtype.kind == "f" else leaf

    return jax.tree.map(convert, tree)


def resolve(value, omega):
    """What may depend on ω, at ω: a function's value there, anything else as it is."""
    return value(omega) if callable(value) else value
