"""K = k(X, Z) as an operator whose rows are spread over the devices of a mesh."""

from __future__ import annotations

import jax
import numpy as np

from ...instance import of_instance
from ...linalg import sharding
from .rows import in_precision, points


def default_mesh():
    """A mesh of the default device alone; None if that is a CPU, where the host is faster."""
    device = jax.config.jax_default_device or jax.devices()[0]
    if isinstance(device, str):
        device = jax.devices(device)[0]
    return None if device.platform == "cpu" else jax.sharding.Mesh(np.array([device]), ("rows",))


@of_instance
def _times(instance, inner, coefficients):
    kernel, x, z, mesh = points(instance, inner)
    return sharding.row_matmul(kernel, x, z, coefficients, mesh)


@of_instance
def _transposed_times(instance, inner, values):
    kernel, x, z, mesh = points(instance, inner)
    return sharding.row_transposed_matmul(kernel, x, z, values, mesh)


@of_instance
def _normal_times(instance, inner, single, coefficients, curvatures):
    kernel, x, z, mesh = points(instance, inner)
    kernel, x, z = in_precision(single, (kernel, x, z))
    return sharding.row_normal_matmul(kernel, x, z, coefficients, curvatures, mesh)


@of_instance
def _grams(instance, inner, weights, root):
    kernel, x, z, mesh = points(instance, inner)
    return sharding.row_grams(kernel, x, z, weights, root, mesh)


class MeshRows:
    """Like ``Rows``, but every product evaluates K again, each device its own rows.

    Parameters
    ----------
    instance : Instance
        Its Subspace has the mesh.
    inner : bool
        Whether X are the inner points, rather than the outer ones.
    shape : pair of int
        (n, M).
    single : bool
        Whether ``normal_times`` works in float32; sums over blocks are in float64.
    """

    stored = None

    def __init__(self, instance, inner, shape, single=False):
        self._at, self._single = (instance, inner), single
        self.shape = shape

    def in_float32(self, out) -> MeshRows:
        """The same with ``normal_times`` in float32; ``out`` is not used."""
        return MeshRows(*self._at, self.shape, single=True)

    def times(self, coefficients) -> np.ndarray:
        """K θ, (n, q)."""
        return np.asarray(_times(*self._at, coefficients))

    def transposed_times(self, values) -> np.ndarray:
        """Kᵀ v, (M, q)."""
        return np.asarray(_transposed_times(*self._at, values))

    def normal_times(self, coefficients, curvatures) -> tuple[np.ndarray, np.ndarray]:
        """Kᵀ C K θ, (F, M, p), and Kθ, (F, n, p), with K in float32 if ``single``."""
        product = _normal_times(
            *self._at, self._single, coefficients.transpose(1, 0, 2),
            curvatures.transpose(1, 0, 2, 3),
        )
        return tuple(np.asarray(part).transpose(1, 0, 2) for part in product)

    def grams(self, weights, root=None) -> list[np.ndarray]:
        """Φᵀ diag(w) Φ for each column w of ``weights``; Φ = K, or K L⁻ᵀ for a ``root`` L."""
        root = None if root is None else root.lower()
        return list(np.array(_grams(*self._at, weights, root)))
