"""Products with k(X, Z) whose rows are spread over the devices of one process or of many.

Centres and arrays of their number M are replicated. Every device evaluates the blocks of its own
rows; sums over rows are then summed over devices (``psum``). The same functions serve one device.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from .kernel_products import TILE, matmul, transposed_matmul

GPU_TILE = 8192


def tile_rows(mesh) -> int:
    """Rows of a block: few enough for the cache of a CPU, many enough to keep a GPU busy."""
    platform = mesh.devices.flat[0].platform if mesh is not None else "cpu"
    return TILE if platform == "cpu" else GPU_TILE


def over_rows(mesh, function, kernel, rows, whole, summed):
    """function(kernel, rows, whole) with the leading axis of ``rows`` split over ``mesh``.

    Parameters
    ----------
    mesh : jax.sharding.Mesh or None
        A mesh of any shape: all its axes are used. None calls the function directly.
    function : callable
        Returns a pair: arrays to be summed over the devices, and arrays to be concatenated.
    kernel : Kernel
    rows, whole : tuples of arrays
        ``rows`` have a leading axis n, padded with zeros to a multiple of the number of devices.
        Every device receives ``whole`` in full.
    summed : bool
        Whether the first of the pair has any arrays, so that devices have to communicate.

    Returns
    -------
    The pair, complete on every device: every process can read it, and later pointwise operations
    give the same result everywhere.
    """
    if mesh is None:
        return function(kernel, rows, whole)
    n, count = rows[0].shape[0], mesh.devices.size
    extra = -n % count
    pad = lambda a: jnp.pad(a, [(0, extra)] + [(0, 0)] * (a.ndim - 1))  # noqa: E731
    rows = tuple(map(pad, rows))
    parameters, structure = eqx.partition(kernel, eqx.is_array)
    split, full = PartitionSpec(mesh.axis_names), PartitionSpec()

    def local(parameters, rows, whole):
        sums, side = function(eqx.combine(parameters, structure), rows, whole)
        return (lax.psum(sums, mesh.axis_names) if summed else sums), side

    sums, side = jax.shard_map(
        local, mesh=mesh, in_specs=(full, split, full), out_specs=(full, split), check_vma=False
    )(parameters, rows, whole)
    return sums, everywhere(jax.tree.map(lambda a: a[:n], side), mesh)


def everywhere(tree, mesh):
    """The tree with its arrays complete on every device, so that each process can read them."""
    if mesh is None:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: lax.with_sharding_constraint(a, whole), tree)


def _blocked(array, tile):
    """(n, …) as (blocks, b, …) with b ≤ tile, padded with zeros."""
    n = array.shape[0]
    count = -(-n // tile)
    size = -(-n // count)
    padded = jnp.pad(array, [(0, count * size - n)] + [(0, 0)] * (array.ndim - 1))
    return padded.reshape(count, size, *array.shape[1:])


def _side_by_side(blocks, n):
    return blocks.reshape(-1, *blocks.shape[2:])[:n]


def row_matmul(kernel, x, z, coefficients, mesh):
    """k(x, z) @ coefficients, (n, q), in blocks; the reverse pass runs in the same blocks."""

    def local(kernel, rows, whole):
        return (), matmul(kernel, *rows, *whole)

    return over_rows(mesh, local, kernel, (x,), (z, coefficients), summed=False)[1]


def row_transposed_matmul(kernel, x, z, values, mesh):
    """k(z, x) @ values, (M, q)."""
    tile = tile_rows(mesh)

    def local(kernel, rows, whole):
        def add(total, block):
            return total + transposed_matmul(kernel.matrix(block[0], whole[0]), block[1]), None

        start = jnp.zeros((len(whole[0]), rows[1].shape[1]), rows[1].dtype)
        return lax.scan(add, start, tuple(_blocked(r, tile) for r in rows))[0], ()

    return over_rows(mesh, local, kernel, (x, values), (z,), summed=True)[0]


def row_normal_matmul(kernel, x, z, coefficients, curvatures, mesh):
    """Kᵀ C K θ (M, F, p) and Kθ (n, F, p); each block of K is evaluated once for both products.

    Parameters
    ----------
    coefficients : array (M, F, p)
        θ.
    curvatures : array (n, F, p, p)
        The blocks of C.
    """
    tile = tile_rows(mesh)

    def local(kernel, rows, whole):
        z, theta = whole
        flat = theta.reshape(len(z), -1)

        def step(total, block):
            K = kernel.matrix(block[0], z)
            values = (K @ flat.astype(K.dtype)).astype(flat.dtype).reshape(-1, *theta.shape[1:])
            curved = jnp.einsum("ifab,ifb->ifa", block[1], values).reshape(len(K), -1)
            return total + transposed_matmul(K, curved.astype(K.dtype)).astype(flat.dtype), values

        total, values = lax.scan(
            step, jnp.zeros_like(flat), tuple(_blocked(r, tile) for r in rows)
        )
        return total.reshape(theta.shape), _side_by_side(values, rows[0].shape[0])

    return over_rows(mesh, local, kernel, (x, curvatures), (z, coefficients), summed=True)


def row_grams(kernel, x, z, weights, root, mesh):
    """Φᵀ diag(w_r) Φ for each column of ``weights`` (n, R): (R, M, M).

    Φ = k(x, z), or k(x, z) L⁻ᵀ where ``root`` is L.
    """
    tile = tile_rows(mesh)

    def local(kernel, rows, whole):
        z = whole[0]

        def add(total, block):
            features = kernel.matrix(block[0], z)
            if root is not None:
                features = jax.scipy.linalg.solve_triangular(whole[1], features.T, lower=True).T
            weighted = features[None] * block[1].T[:, :, None]
            return total + jnp.einsum("rim,ik->rmk", weighted, features), None

        start = jnp.zeros((rows[1].shape[1], len(z), len(z)), z.dtype)
        return lax.scan(add, start, tuple(_blocked(r, tile) for r in rows))[0], ()

    whole = (z,) if root is None else (z, root)
    return over_rows(mesh, local, kernel, (x, weights), whole, summed=True)[0]
