"""A problem on some rows of its samples."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np

from ..problem import Sample


def on_rows(problem, sizes, seed, together=False):
    """The problem on ``sizes`` = (b, b') rows of its inner and outer sample, drawn without repeat.

    Parameters
    ----------
    problem : BilevelProblem
    sizes : pair of int or None
        None is all rows.
    seed : list of int
        Of the draws.
    together : bool
        Whether both samples keep the same rows, because they are at the same points.

    Raises
    ------
    ValueError
        If points are a kbo.Stream, or the rows drawn leave a replicate without weight.
    """
    if problem.streamed:
        raise ValueError(
            "rows are drawn of points in memory, not of a kbo.Stream: for Stochastic or "
            "LBFGS(parts=…) load them first"
        )
    changes = {}
    for k, (name, size) in enumerate(zip(("inner_data", "outer_data"), sizes, strict=True)):
        if size is None:
            continue
        data = getattr(problem, name)
        rng = np.random.default_rng([*seed, 0 if together else k])
        if callable(data):
            changes[name] = Rows(data, size, np.asarray(rng.integers(2**31)))
        elif size < data.size:
            rows = np.sort(rng.choice(data.size, size, replace=False))
            weighted = data.weights is not None  # else there is nothing to fetch and look at
            if weighted and not np.asarray(data.weight_matrix())[:, rows].any(1).all():
                raise ValueError(
                    f"{size} of the {data.size} rows of {name} leave a replicate without weight: "
                    "draw more, or leave fewer replicates"
                )
            changes[name] = some(data, rows)
    return problem.replace(**changes)


def some(sample, rows) -> Sample:
    """A sample's rows."""
    weights = None if sample.weights is None else sample.weights[..., rows]
    return Sample(sample.x[rows], jax.tree.map(lambda leaf: leaf[rows], sample.target), weights)


class Rows(eqx.Module):
    """ω ↦ ``size`` random rows of a sample that depends on ω, the same ones for every ω.

    Parameters
    ----------
    data : callable of ω
    size : int
    seed : array
    """

    data: Callable
    size: int = eqx.field(static=True)
    seed: np.ndarray

    def __call__(self, omega):
        """The rows at ω."""
        sample = self.data(omega)
        if self.size >= sample.size:
            return sample
        key = jax.random.key(self.seed)
        return some(sample, jax.random.choice(key, sample.size, (self.size,), replace=False))
