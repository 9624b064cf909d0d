"""Parameters of kernels and losses: their names, and their values as functions of ω."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .arithmetic import is_traced
from .kernels import Kernel
from .losses import Loss
from .module import Module


def _leaves(tree):
    """(name, leaf, whether its class keeps it fixed) of every leaf, in flattening order."""
    fixed_of = lambda node: node.fixed if isinstance(node, Kernel | Loss) else ()  # noqa: E731
    fixed, within = fixed_of(tree), lambda node: node is not tree and bool(fixed_of(node))
    for path, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=within)[0]:
        if within(node):
            yield from _leaves(node)
            continue
        names = [key.name if isinstance(key, jax.tree_util.GetAttrKey) else "" for key in path]
        yield (names or [""])[-1], node, bool(names) and names[0] in fixed


def _is_number(leaf) -> bool:
    number = float | int | np.ndarray | np.number | jax.Array
    return isinstance(leaf, number) and not isinstance(leaf, bool)


def named_numbers(tree):
    """(name, number) for every number of a kernel or loss; the name is that of its attribute.

    Parameters
    ----------
    tree : Kernel or Loss

    Returns
    -------
    list of (str, number)
    """
    return [(name, leaf) for name, leaf, _ in _leaves(tree) if _is_number(leaf)]


def tunable_names(tree) -> set[str]:
    """The names of the numbers of a kernel or loss that may be tuned.

    Parameters
    ----------
    tree : Kernel or Loss

    Returns
    -------
    set of str
    """
    return {name for name, leaf, fixed in _leaves(tree) if _is_number(leaf) and not fixed}


class Tunable(Module):
    """ω ↦ a kernel or loss whose tuned parameters are their base values times exp(log).

    Parameters
    ----------
    base : pytree
        The kernel or loss at log = 0, with NumPy arrays.
    tuned : tuple of (str or None)
        The name of each leaf that is tuned, in flattening order; None for the others.
    tied : list of ndarray of int, or None
        For each leaf, the index of the log that applies to each of its entries; None if every
        entry has its own.
    """

    base: Any
    tuned: tuple[str | None, ...] = eqx.field(static=True)
    tied: Any

    @classmethod
    def of(cls, base, tune=None, tied=None):
        """The Tunable in which every positive number whose name is in ``tune`` is tuned.

        Parameters
        ----------
        base : Kernel or Loss
            What its class lists as ``fixed`` is never tuned.
        tune : None or container of str
            None means all names.
        tied : list, optional
            As for the class; by default no two entries share a log.
        """
        base = jax.tree.map(lambda v: np.array(v, float) if _is_number(v) else v, base)
        tuned = tuple(
            name if _is_number(leaf) and not fixed and (tune is None or name in tune)
            and (leaf > 0).all() else None
            for name, leaf, fixed in _leaves(base)
        )
        return cls(base, tuned, [None] * len(tuned) if tied is None else tied)

    def at_base(self, base):
        """The Tunable with the same tuned parameters and other base values."""
        base = jax.tree.map(lambda v: np.array(v, float) if _is_number(v) else v, base)
        return replace(self, base=base)

    def start(self):
        """Zero logs, one array per tuned leaf."""
        leaves = zip(jax.tree.leaves(self.base), self.tuned, self.tied, strict=True)
        return [
            np.zeros(np.shape(leaf) if tied is None else tied.max() + 1)
            for leaf, name, tied in leaves if name is not None
        ]

    def names(self):
        """The names of the tuned leaves."""
        return [name for name in self.tuned if name is not None]

    def at(self, logs, exp=None):
        """The kernel or loss at these logs; in NumPy, which is quicker, unless they are traced.

        ``exp`` takes the place of NumPy's or JAX's exponential.
        """
        leaves, structure = jax.tree.flatten(self.base)
        if exp is None:
            exp = jnp.exp if is_traced((leaves, self.tied, logs)) else _host_exp
        logs = iter(logs)
        for place, (name, tied) in enumerate(zip(self.tuned, self.tied, strict=True)):
            if name is not None:
                factor = exp(next(logs))
                leaves[place] = _times(leaves[place], factor if tied is None else factor[tied])
        return jax.tree.unflatten(structure, leaves)


def _host_exp(log):
    return np.exp(np.asarray(log))


def _times(value, factor):
    """value·factor, whose derivative in the factor is 0 rather than NaN at infinite values."""
    xp = np if isinstance(factor, np.ndarray | np.generic) else jnp
    finite = xp.isfinite(value)
    return xp.where(finite, xp.where(finite, value, 1.0) * factor, value)
