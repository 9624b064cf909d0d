"""Penalties with kinks, at which numbers or groups of them are zero."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree import map as _each

from .base import Regularizer, faulty


def _numbered(labels):
    return tuple(np.unique(labels, return_inverse=True)[1].tolist())  # from 0


class L1(Regularizer):
    """``R(x) = Σ strength·|x|``, which draws entries to zero.

    Parameters
    ----------
    strength : float, or array that broadcasts to x
        At least 0. An array for coefficients θ (q, 1) has shape (q, 1).
    """

    separable = True
    strength: Any

    def fault(self):
        """Whether a strength is negative."""
        return faulty("strength", self.strength, "at least 0", lambda v: v >= 0)

    def __call__(self, x):
        """R(x), summed over all leaves."""
        return sum(jnp.sum(self.strength * jnp.abs(leaf)) for leaf in jax.tree.leaves(x))

    def prox(self, x, rate):
        """Soft thresholding, ``sign(x)·max(|x| − rate·strength, 0)``."""
        shrink = rate * self.strength
        return _each(lambda v: jnp.sign(v) * jnp.maximum(jnp.abs(v) - shrink, 0), x)

    def tangent(self, x, direction):
        """The direction where x is not zero, and zero elsewhere."""
        return _each(lambda v, d: jnp.where(v != 0, d, 0), x, direction)


class GroupLasso(Regularizer):
    """R(x) = strength Σ_g √size_g ‖x_g‖, over groups g of rows of an array x (q,) or (q, p).

    Parameters
    ----------
    strength : float, at least 0
    groups : sequence of int (q,)
        The label of each row. Size counts rows.

    References
    ----------
    Yuan, Lin (2006), Model Selection and Estimation in Regression with Grouped Variables,
    eq. (2.1).
    """

    strength: Any
    groups: tuple[int, ...] = eqx.field(static=True, converter=lambda labels: _numbered(labels))

    def fault(self):
        """Whether the strength is negative."""
        return faulty("strength", self.strength, "at least 0", lambda v: v >= 0)

    def _norms(self, x):
        """‖x_g‖ (G,), with derivative 0 at 0, and √size_g."""
        labels = np.array(self.groups)
        if len(labels) != x.shape[0]:
            raise ValueError(f"groups has {len(labels)} labels for {x.shape[0]} rows: one for each")
        square = jax.ops.segment_sum(
            jnp.sum(x.reshape(len(labels), -1) ** 2, 1), labels, labels.max() + 1
        )
        positive = square > 0
        norms = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
        return norms, np.sqrt(np.bincount(labels))

    def _by_row(self, per_group, x):
        return per_group[np.array(self.groups)].reshape(-1, *(1,) * (x.ndim - 1))

    def __call__(self, x):
        """R(x)."""
        norms, roots = self._norms(x)
        return self.strength * jnp.sum(roots * norms)

    def prox(self, x, rate):
        """x_g·max(1 − rate·strength·√size_g/‖x_g‖, 0)."""
        norms, roots = self._norms(x)
        least = rate * self.strength * roots
        factor = jnp.where(norms > least, 1 - least / jnp.where(norms > least, norms, 1.0), 0.0)
        return self._by_row(factor, x) * x

    def tangent(self, x, direction):
        """The direction in groups that are not zero, and zero elsewhere."""
        return jnp.where(self._by_row(self._norms(x)[0] > 0, x), direction, 0)
