"""A function in the space of the inner problem, which can be evaluated at new points."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from . import linalg
from .arithmetic import arithmetic
from .instance import Instance, of_instance
from .module import Module
from .programs import program


@of_instance(nested=True)
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


class Function(Module):
    """h, which maps points (k, d) to values (k,) or (k, p).

    If there are several replicates, values have a leading axis (F,).

    Parameters
    ----------
    instance : Instance
        The problem at the ω for which h was computed.
    coefficients : array (F, N, p), or weights of networks
    on_both : bool
        Whether the coefficients belong to the inner points followed by the outer ones.
    """

    instance: Instance
    coefficients: Any
    on_both: bool = eqx.field(static=True, default=False)

    def __call__(self, x) -> jax.Array:
        """Values at points ``x`` (k, d), or (k,) if there is one feature.

        Raises
        ------
        ValueError
            If x and the data have different numbers of features.
        """
        # Use the precision in which h was computed: without x64, float64 arrays would be rounded.
        dtype = jax.tree.leaves(self.coefficients)[0].dtype
        double = dtype == np.float64
        with arithmetic(double):
            x = jnp.asarray(x, dtype)
            x = x[:, None] if x.ndim == 1 else x
            values = _evaluate(self.instance, x, self.coefficients, self.on_both)
        values = values[..., 0] if self.instance.problem.n_outputs is None else values
        return values[0] if values.shape[0] == 1 else values
