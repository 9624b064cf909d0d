"""The bounds of a search, as the user gives them and as an optimiser needs them."""

from __future__ import annotations

import functools

import jax
import numpy as np

from ..arithmetic import raveled


def flat_bounds(bounds, omega0):
    """(lower, upper), each in the order of ω's leaves; infinite where there are none."""
    size = raveled(omega0)[0].size
    if bounds is None:
        return np.full(size, -np.inf), np.full(size, np.inf)
    try:
        lower, upper = bounds
        return _like(lower, omega0, -np.inf), _like(upper, omega0, np.inf)
    except (TypeError, ValueError) as error:
        raise ValueError("bounds must be a pair (lower, upper) of numbers or of pytrees like "
                         f"omega0: {error}") from error


def _like(side, omega0, missing):
    """One side of the bounds, flat: a number, or an array of its shape, for any part of ω."""
    if getattr(side, "shape", None) == raveled(omega0)[0].shape:
        return np.asarray(side, float)
    fill = lambda bound, leaf: np.broadcast_to(np.asarray(bound, float), np.shape(leaf))  # noqa: E731
    spread = lambda bound, part: jax.tree.map(functools.partial(fill, bound), part)  # noqa: E731
    filled = jax.tree.map(spread, _with_all_keys(side, omega0, missing), omega0)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(filled)])


def _with_all_keys(side, omega, missing):
    """A side of the bounds where keys of ω that a dictionary lacks have the bound ``missing``."""
    if not (isinstance(side, dict) and isinstance(omega, dict)):
        return side
    unknown = sorted(map(repr, side.keys() - omega.keys()))
    if unknown:
        raise ValueError(f"omega0 has no key {', '.join(unknown)}, only {list(omega)}")
    return {
        key: _with_all_keys(side[key], part, missing) if key in side else missing
        for key, part in omega.items()
    }


def names_of(omega) -> list[str]:
    """The name of every number in ω, in the order of its leaves: ``omega0['ridge'][2]``."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(omega):
        name = f"omega0{jax.tree_util.keystr(path)}"
        at = np.ndindex(np.shape(leaf))
        names += [name + (str(list(place)) if place else "") for place in at]
    return names
