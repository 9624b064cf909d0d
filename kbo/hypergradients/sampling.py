"""A problem on random rows of its samples."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np

from ..module import Module
from ..problem import Sample


def on_rows(problem, sizes, seed, together=False):
    """The problem on ``sizes`` = (b, b') random rows of its inner and outer samples.

    DrawnSample are drawn without replacement.

    Parameters
    ----------
    problem : BilevelProblem
    sizes : pair of int or None
        None takes all rows.
    seed : list of int
        Seed of the draws.
    together : bool
        Whether the same rows of both samples are drawn, because they are at the same points.

    Raises
    ------
    ValueError
        If points are a kbo.Stream, or if a replicate has no weight on the rows drawn (checked only
        for samples that do not depend on ω).
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
            changes[name] = DrawnSample(data, size, np.asarray(rng.integers(2**31)))
        elif size < data.size:
            rows = np.sort(rng.choice(data.size, size, replace=False))
            weighted = data.weights is not None  # without weights there is nothing to check
            if weighted and not np.asarray(data.weight_matrix())[:, rows].any(1).all():
                raise ValueError(
                    f"{size} of the {data.size} rows of {name} leave a replicate without weight: "
                    "draw more, or use fewer replicates"
                )
            changes[name] = some(data, rows)
    return problem.replace(**changes)


def some(sample, rows) -> Sample:
    """The given rows of a sample."""
    weights = None if sample.weights is None else sample.weights[..., rows]
    return Sample(sample.x[rows], jax.tree.map(lambda leaf: leaf[rows], sample.target), weights)


class DrawnSample(Module):
    """ω ↦ ``size`` random rows of a sample that depends on ω, the same rows for every ω.

    Parameters
    ----------
    data : callable of ω
    size : int
    seed : array of one integer
    """

    data: Callable
    size: int = eqx.field(static=True)
    seed: np.ndarray

    def __call__(self, omega):
        """These rows of the sample at ω."""
        sample = self.data(omega)
        if self.size >= sample.size:
            return sample
        key = jax.random.key(self.seed)
        return some(sample, jax.random.choice(key, sample.size, (self.size,), replace=False))
