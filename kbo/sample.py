"""Weighted points and targets, which are checked when a Sample is made."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arithmetic import as_jax
from .module import Module
from .result import InvalidPoint
from .stream import Stream


class Sample(Module):
    """Weighted points and targets (x_i, t_i, w_i), i = 1…n.

    Parameters
    ----------
    x : array (n, d) or Stream
        Points; one-dimensional input is read as n points with one feature. 16-bit floats become
        float32, since kernel systems cannot be solved in fewer digits.
    target : pytree of arrays with leading axis n, optional
        What the loss compares predictions with.
    weights : array (n,) or (F, n), optional
        Non-negative. A leading axis makes F replicates of the problem that share points, kernel and
        ridge, such as cross-validation folds (zero weight leaves a point out) or bootstrap draws.

    Raises
    ------
    ValueError
        For shapes that do not match, input that is not numeric, masked or non-finite entries,
        negative weights, or a replicate whose weights are all zero.

    Examples
    --------
    Five points, and two folds, each of which trains on some of them:

    >>> import numpy as np
    >>> import kbo
    >>> folds = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    >>> sample = kbo.Sample(np.arange(5.0), np.arange(5.0) ** 2, folds)
    >>> sample.x.shape, sample.size, sample.replicates
    ((5, 1), 5, 2)
    """

    x: jax.Array | Stream
    target: Any
    weights: jax.Array | None

    def __init__(self, x, target=None, weights=None):
        if not isinstance(x, Stream):
            x = _as_numbers("x", x)
            x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
            x = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
            x = x[:, None] if x.ndim == 1 else x
        self.x = x
        self.target = jax.tree.map(lambda leaf: _as_numbers("target", leaf, True), target)
        if weights is not None:
            weights = _as_numbers("weights", weights).astype(self.x.dtype)
        self.weights = weights
        self._check()

    def _check(self):
        if self.x.ndim != 2 or 0 in self.x.shape:
            raise ValueError(f"x has shape {self.x.shape}; it must be (n, d) with n, d ≥ 1")
        n = self.x.shape[0]
        for leaf in jax.tree.leaves(self.target):
            if leaf.ndim == 0 or leaf.shape[0] != n:
                raise ValueError(
                    f"target has a leaf of shape {leaf.shape}; its leading axis must be the "
                    f"{n} samples of x (a list is a tree of its items: give an array)"
                )
            if _is_nonfinite(leaf):
                raise ValueError("target contains NaN or infinity: drop or impute those rows")
        if not isinstance(self.x, Stream) and _is_nonfinite(self.x):
            raise InvalidPoint("x contains NaN or infinity: drop or impute those rows")
        if self.weights is None:
            return
        if self.weights.ndim not in (1, 2) or self.weights.shape[-1] != n:
            raise ValueError(f"weights has shape {self.weights.shape}; expected ({n},) or (F, {n})")
        if isinstance(self.weights, jax.core.Tracer):
            return
        weights = np.asarray(self.weights)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise InvalidPoint("weights must be finite and non-negative")
        if not (weights.sum(-1) > 0).all():
            raise ValueError("weights are all zero in a replicate: give some sample weight")

    @property
    def size(self) -> int:
        """n, the number of points."""
        return self.x.shape[0]

    @property
    def replicates(self) -> int:
        """F, the number of replicates."""
        return 1 if self.weights is None or self.weights.ndim == 1 else self.weights.shape[0]

    def weight_matrix(self) -> jax.Array:
        """Weights as (F, n); ones if none were given."""
        if self.weights is None:
            return jnp.ones((1, self.size), self.x.dtype)
        return self.weights if self.weights.ndim == 2 else self.weights[None]


def _as_numbers(name, value, complex_too=False) -> jax.Array:
    """An array of numbers, from any container."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: drop or impute those rows")
    try:
        with jax.transfer_guard("allow"):  # giving data to kbo is an explicit transfer
            array = value if isinstance(value, jax.Array) else as_jax(_native(value))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be read as an array of numbers ({type(value).__name__}): {error}"
        ) from error
    if jnp.iscomplexobj(array) and not complex_too:
        raise ValueError(f"{name} is complex: give real numbers, its parts as two features say")
    return array


def _native(value) -> np.ndarray:
    """A NumPy array of a dtype that JAX has, also from number objects or another byte order."""
    array = np.asarray(value)
    if array.dtype == object:
        return array.astype(float)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_nonfinite(leaf) -> bool:
    if isinstance(leaf, jax.core.Tracer) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return False
    return not np.isfinite(np.asarray(leaf)).all()
