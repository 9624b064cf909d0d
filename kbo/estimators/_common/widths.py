"""Columns of zeros beside those of a table, so that similar widths share compiled programs."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from ... import kernels

ROWS = 512  # in a table of more, computing with other columns takes longer than compiling anew
IGNORED = {"lengthscale": np.inf, "center": 0.0, "spread": 0.0, "skew": 1.0}  # for such columns
BASES = (
    kernels.Gaussian, kernels.Laplacian, kernels.Linear, kernels.Matern12, kernels.Matern32,
    kernels.Matern52, kernels.Polynomial, kernels.RationalQuadratic,
)


class Widths(NamedTuple):
    """How many coordinates there are, and how many with the columns of zeros.

    These have infinite lengthscales, as constant columns have, so that no value changes.

    Attributes
    ----------
    own, padded : int
    """

    own: int
    padded: int

    @classmethod
    def of(cls, kernel, n, d, more=True):
        """The widths for n points of d coordinates; without columns of zeros unless ``more``."""
        padded = bucket_of_columns(d) if more and n <= ROWS and _ignores_columns(kernel, d) else d
        return cls(d, padded)

    def points(self, X):
        """Points (n, own) with the columns of zeros, (n, padded)."""
        return X if self.own == self.padded else np.pad(X, ((0, 0), (0, self.padded - self.own)))

    def kernel(self, kernel):
        """The kernel of such points."""
        return jax.tree_util.tree_map_with_path(self._leaf, kernel)

    def tied(self, kernel, tied):
        """The factors of ``tied_entries``: columns of zeros have their own, unless all share one.
        """
        zeros = np.arange(self.own, self.padded)
        paths = jax.tree_util.tree_flatten_with_path(kernel)[0]
        found = []
        for (path, _), places in zip(paths, tied, strict=True):
            each = places is not None and len(places) == self.own
            common = each and _name(path) == "lengthscale" and places.max() == 0
            added = 0 * zeros if common else zeros
            found.append(np.concatenate([places, added]) if each else places)
        return found

    def used(self, tunable):
        """For each tuned leaf of the kernel, which of its logs apply to own coordinates."""
        found = []
        for leaf, name, tied in zip(
            jax.tree.leaves(tunable.base), tunable.tuned, tunable.tied, strict=True
        ):
            if name is not None:
                places = np.arange(np.size(leaf)) if tied is None else tied
                shape = np.shape(leaf) if tied is None else (places.max() + 1,)
                own = places[: self.own] if len(places) == self.padded else places
                found.append(np.isin(np.arange(np.prod(shape, dtype=int)), own).reshape(shape))
        return found

    def own_kernel(self, kernel):
        """The kernel of the points without the columns of zeros."""
        cut = lambda leaf: leaf[: self.own] if np.shape(leaf) == (self.padded,) else leaf  # noqa: E731
        return kernel if self.own == self.padded else jax.tree.map(cut, kernel)

    def _leaf(self, path, leaf):
        if np.shape(leaf) != (self.own,) or _name(path) not in IGNORED:
            return leaf
        return np.concatenate([leaf, np.full(self.padded - self.own, IGNORED[_name(path)])])


def bucket_of_columns(d):
    """1, 2, 3, 4, 6, 8, 12, 16, 24, …: at most half as much again, or a column."""
    power = 1 << (d - 1).bit_length()
    return 3 * power // 4 if power >= 4 and d <= 3 * power // 4 else power


def _ignores_columns(kernel, d):
    """Whether an infinite lengthscale makes the kernel ignore a column of zeros."""
    leaves = jax.tree_util.tree_flatten_with_path(kernel)[0]
    return _is_known(kernel) and all(
        np.shape(leaf) == (d,) for path, leaf in leaves if _name(path) in IGNORED
    )


def _is_known(kernel):
    """Whether it consists of kernels of which this is known."""
    if type(kernel) is kernels.Sum:
        return _is_known(kernel.left) and _is_known(kernel.right)
    if type(kernel) in (kernels.Scaled, kernels.Warped):
        return _is_known(kernel.kernel)
    return type(kernel) in BASES


def _name(path):
    return getattr(path[-1], "name", "")
