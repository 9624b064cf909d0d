"""A function of an inner space that a user can call on new points."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from . import linalg
from .arithmetic import arithmetic
from .instance import Instance, of_instance
from .programs import program


@of_instance
def _evaluate(instance, x, coefficients, on_both):
    d = instance.inner.x.shape[1]
    if x.ndim != 2 or x.shape[1] != d:
        raise ValueError(f"x has shape {x.shape}; it must be (k, {d}), as the inner points are")
    anchors = instance.inner.x
    if on_both:
        anchors = jnp.concatenate([anchors, instance.outer.x])
    return instance.space.evaluate(anchors, x, coefficients)


@program
def evaluate_at(kernel, anchors, x, coefficients):
    """k(x, anchors) @ coefficients, (k, p), for NumPy or JAX arguments."""
    return linalg.matmul(kernel, x, anchors, coefficients)


class Function(eqx.Module):
    """h: (k, d) points to (k,) or (k, p) values, with a leading replicate axis if there is one.

    Parameters
    ----------
    instance : Instance
        Where the function was found.
    coefficients : array (F, N, p), or weights of networks
    on_both : bool
        Whether the coefficients belong to the inner and the outer points.
    """

    instance: Instance
    coefficients: Any
    on_both: bool = eqx.field(static=True, default=False)

    def __call__(self, x) -> jax.Array:
        """Values at ``x`` (k, d).

        Raises
        ------
        ValueError
            If x has another number of features than the data.
        """
        # In the precision it was found in: a float64 array outside x64 would be rounded.
        dtype = jax.tree.leaves(self.coefficients)[0].dtype
        double = dtype == np.float64
        with arithmetic(double):
            x = jnp.asarray(x, dtype)
            x = x[:, None] if x.ndim == 1 else x
            values = _evaluate(self.instance, x, self.coefficients, self.on_both)
        values = values[..., 0] if self.instance.problem.n_outputs is None else values
        return values[0] if values.shape[0] == 1 else values
