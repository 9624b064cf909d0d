"""Products with kernel matrices in blocks, in JAX; no array of their size is kept for gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TILE = 512


def _blocks(x, block, mode="edge"):
    """(n, q) as (blocks, block, q), padded with copies of the last row, or as ``mode`` says."""
    count = -(-x.shape[0] // block)
    padded = jnp.pad(x, [(0, count * block - x.shape[0]), (0, 0)], mode=mode)
    return padded.reshape(count, block, x.shape[1])


def _block_size(n: int) -> int:
    """A size of at most TILE for which whole blocks exceed n points by little."""
    return -(-n // -(-n // TILE))


def tiled_size(n: int) -> int:
    """The side of the buffer that ``gram`` fills for n points."""
    return -(-n // _block_size(n)) * _block_size(n)


def _each(function, blocks):
    """``lax.map`` whose reverse pass evaluates blocks again; a plain call for a single block."""
    if len(jax.tree.leaves(blocks)[0]) > 1:
        return lax.map(jax.checkpoint(function), blocks)
    only = function(jax.tree.map(lambda leaf: leaf[0], blocks))
    return jax.tree.map(lambda leaf: leaf[None], only)


def transposed_matmul(matrix, values):
    """matrixᵀ values, (M, q), for (n, M) and (n, q).

    It is one contraction, because XLA for CPUs writes ``matrix.T`` to memory before multiplying it
    by a single column, which costs many times the product.
    """
    return jnp.einsum("ij,iq->jq", matrix, values)


def gram(kernel, x, out):
    """The lower triangle of k(x_i, x_j) in the leading (n, n) corner of ``out``.

    Nothing is written above the diagonal blocks. ``out`` has side ``tiled_size(n)``; it is updated
    in place if its buffer was donated, and returned.
    """
    block = _block_size(x.shape[0])
    blocks = _blocks(x, block)
    if len(blocks) == 1:
        return out.at[:].set(kernel.matrix(x, x))
    rows, columns = map(jnp.asarray, np.tril_indices(len(blocks)))

    def write(pair, out):
        i, j = rows[pair], columns[pair]
        tile = kernel.matrix(blocks[i], blocks[j])
        return lax.dynamic_update_slice(out, tile, (i * block, j * block))

    return lax.fori_loop(0, len(rows), write, out)


def cross_gram(kernel, x, z):
    """The matrix k(x_i, z_j), (n, m), computed in blocks of rows."""
    block = _block_size(x.shape[0])
    tiles = _each(lambda rows: kernel.matrix(rows, z), _blocks(x, block))
    return tiles.reshape(-1, z.shape[0])[: x.shape[0]]


def cross_gram_into(kernel, x, z, out):
    """k(x_i, z_j) in the first n rows of ``out`` (tiled_size(n), m), in place if donated."""
    blocks = _blocks(x, _block_size(x.shape[0]))

    def write(i, out):
        tile = kernel.matrix(blocks[i], z).astype(out.dtype)
        return lax.dynamic_update_slice(out, tile, (i * blocks.shape[1], 0))

    return lax.fori_loop(0, len(blocks), write, out)


def symmetric_matmul(kernel, x, coefficients, known=None):
    """k(x, x) @ coefficients, (n, q), with each pair of blocks evaluated once per pass.

    Nothing of size n² is kept: the reverse pass evaluates each block again, or reads it from
    ``known``, the matrix that ``gram`` wrote.
    """
    n = x.shape[0]
    block = _block_size(n)
    blocks, cs = _blocks(x, block), _blocks(coefficients, block, "constant")
    rows, columns = map(jnp.asarray, np.tril_indices(len(blocks)))

    def pair(args):
        i, j, xi, xj, ci, cj, off_diagonal = args
        if known is None:
            tile = kernel.matrix(xi, xj)
        else:
            values = lax.dynamic_slice(known, (i * block, j * block), (block, block))
            tile = kernel.matrix_from(values, xi, xj)
        return tile @ cj, off_diagonal * transposed_matmul(tile, ci)

    off = jnp.asarray(rows != columns, coefficients.dtype)
    lower, upper = _each(
        pair, (rows, columns, blocks[rows], blocks[columns], cs[rows], cs[columns], off)
    )
    out = jnp.zeros_like(cs).at[rows].add(lower).at[columns].add(upper)
    return out.reshape(-1, cs.shape[-1])[:n]


def gram_pairing(kernel, x, cotangent, known=None):
    """Σ_{i≥j} c_ij k(x_i, x_j) for the lower triangle of ``cotangent`` (tiled_size(n), …).

    Each pair of blocks is evaluated once in the forward and once in the reverse pass; ``known`` is
    as in symmetric_matmul.
    """
    block = _block_size(x.shape[0])
    blocks = _blocks(x, block)
    if len(blocks) == 1:
        tile = kernel.matrix(x, x) if known is None else kernel.matrix_from(known, x, x)
        return jnp.sum(jnp.tril(cotangent) * tile)
    rows, columns = map(jnp.asarray, np.tril_indices(len(blocks)))

    def pair(args):
        i, j, xi, xj = args
        at = (i * block, j * block)
        if known is None:
            tile = kernel.matrix(xi, xj)
        else:
            tile = kernel.matrix_from(lax.dynamic_slice(known, at, (block, block)), xi, xj)
        c = lax.dynamic_slice(cotangent, at, (block, block))
        # The entries above the diagonal are arbitrary.
        return jnp.sum(jnp.where((i != j) | jnp.tril(jnp.ones((block, block), bool)), c, 0) * tile)

    return jnp.sum(_each(pair, (rows, columns, blocks[rows], blocks[columns])))


def matmul(kernel, x, z, coefficients, known=None):
    """k(x, z) @ coefficients, (n, q), in blocks of rows.

    The reverse pass evaluates each block again, or reads it from ``known``, the matrix that
    ``cross_gram_into`` wrote.
    """
    blocks = _blocks(x, _block_size(x.shape[0]))
    if known is None:
        rows = lambda xi: kernel.matrix(xi, z) @ coefficients  # noqa: E731
        out = _each(rows, blocks)
    else:
        rows = lambda pair: kernel.matrix_from(*pair, z) @ coefficients  # noqa: E731
        out = _each(rows, (known.reshape(*blocks.shape[:2], len(z)), blocks))
    return out.reshape(-1, coefficients.shape[-1])[: x.shape[0]]


@jax.custom_jvp
def with_known_value(known, computed):
    """``known``, with the derivatives of ``computed``, whose forward pass a gradient then skips."""
    return known


@with_known_value.defjvp
def _with_known_value_jvp(primals, tangents):
    # The value keeps its derivatives for those of second order, as in bounds.
    return with_known_value(*primals), tangents[1]
