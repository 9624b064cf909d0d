"""The precision in which kbo computes, and the JAX rules it computes under, in any process."""

from __future__ import annotations

import contextlib
import operator

import jax
import jax.numpy as jnp
import numpy as np


@contextlib.contextmanager
def arithmetic(double):
    """Compute in float64 if ``double``, and multiply float32 matrices in float32.

    On a GPU, JAX by default multiplies float32 matrices with 10 bits of mantissa (TF32). Distances
    between close points, and the systems solved with them, are then noise. A user who wants that
    speed for networks sets ``jax_default_matmul_precision``, which is respected.

    A process may forbid itself implicit transfers and rank promotion. Such rules are lifted here:
    kbo deliberately passes NumPy arrays to compiled programs, and broadcasts.
    """
    with contextlib.ExitStack() as stack:
        if double:
            stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.transfer_guard("allow"))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        if jax.config.jax_default_matmul_precision is None:
            stack.enter_context(jax.default_matmul_precision("highest"))
        yield


def as_jax(value, dtype=None) -> jax.Array:
    """An array of JAX's, of a dtype if one is given.

    ``jnp.asarray`` compiles a program for every shape that it has not seen.
    """
    if dtype is None and not isinstance(value, jax.Array):
        value = np.asarray(value)
    dtype = jax.dtypes.canonicalize_dtype(value.dtype if dtype is None else dtype)
    if isinstance(value, jax.Array):
        return value if value.dtype == dtype else value.astype(dtype)
    return jax.device_put(np.asarray(value, dtype), may_alias=False)


def arrays(tree, dtype):
    """``tree`` with every floating-point number and array as a JAX array of the given dtype.

    It is the same tree where nothing has to change.
    """
    leaves, structure = jax.tree.flatten(tree)
    changed = list(leaves)
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, jax.Array) and leaf.dtype == dtype:
            continue
        is_array = isinstance(leaf, np.floating | np.ndarray | jax.Array)
        if jnp.issubdtype(leaf.dtype, jnp.floating) if is_array else isinstance(leaf, float):
            changed[place] = as_jax(leaf, dtype)
    if all(map(operator.is_, changed, leaves)):
        return tree
    return jax.tree.unflatten(structure, changed)


def raveled(tree):
    """(flat, unravel), as of jax.flatten_util.ravel_pytree, in NumPy: nothing is compiled."""
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    flat = np.concatenate([leaf.ravel() for leaf in leaves]) if leaves else np.zeros(0)

    def unravel(vector):
        parts = np.split(np.asarray(vector), ends) if leaves else []
        return jax.tree.unflatten(structure, [
            part.reshape(leaf.shape).astype(leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        ])

    return flat, unravel


def is_traced(tree) -> bool:
    """Whether JAX is tracing a leaf, so that its numbers are not known."""
    kinds = set(map(type, jax.tree.leaves(tree)))
    return any(issubclass(kind, jax.core.Tracer) for kind in kinds)


def exp(logs):
    """exp(logs), in NumPy, which compiles nothing, unless JAX is tracing them."""
    return jnp.exp(logs) if isinstance(logs, jax.core.Tracer) else np.exp(np.asarray(logs))


def known(value):
    """An array as NumPy's, which computes with it at once, unless JAX is tracing it."""
    return value if isinstance(value, jax.core.Tracer) else np.asarray(value)


def resolve(value, omega):
    """The value at ω of a function of ω; anything else as it is."""
    return value(omega) if callable(value) else value
