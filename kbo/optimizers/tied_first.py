"""A search in two stages: with groups of numbers moving together, then with each on its own."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import numpy as np

from ..result import Status
from .base import Optimizer
from .lbfgs import LBFGS


class TiedFirst(Optimizer):
    """First min_y L(ω₀ + Ty), (Ty)_j = y_{label(j)}; from there min_ω L(ω).

    With many numbers of one kind, such as a lengthscale for each feature, the first stage finds
    their common level, from which the second cannot go astray so easily.

    Parameters
    ----------
    labels : sequence of int (q,)
        Entries of the flat ω with the same label move together; labels are 0, 1, …
    optimizer : Optimizer
        For both stages, which share its ``max_steps``; the first takes half of them at most.

    Raises
    ------
    ValueError
        If ω has another number of entries than there are labels.
    """

    labels: tuple[int, ...] = eqx.field(static=True, converter=lambda v: tuple(map(int, v)))
    optimizer: LBFGS = LBFGS()

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """Both stages; see Optimizer.run."""
        labels = np.array(self.labels)
        if labels.shape != np.shape(omega):
            raise ValueError(f"{len(labels)} labels for an omega of {np.size(omega)} numbers")
        count = labels.max() + 1
        if count == len(labels):
            return self.optimizer.run(evaluate, report, omega, lower, upper, tree)
        known = {}  # what the second stage need not evaluate again
        accepted = [np.array(omega, float)]
        at = lambda y: np.clip(omega + y[labels], lower, upper)  # noqa: E731

        def tied(y):
            value, grad = known[at(y).tobytes()] = evaluate(at(y))
            return value, np.bincount(labels, grad, minlength=count)

        def accept(y):
            accepted.append(at(y))
            report(accepted[-1])

        low, high = np.full(count, -np.inf), np.full(count, np.inf)
        np.maximum.at(low, labels, lower - omega)
        np.minimum.at(high, labels, upper - omega)
        first = dataclasses.replace(self.optimizer, max_steps=max(1, self.optimizer.max_steps // 2))
        if first.run(tied, accept, np.zeros(count), low, high, None) is Status.NON_FINITE:
            return Status.NON_FINITE

        def once(point, **more):
            found = None if more else known.pop(point.tobytes(), None)
            return evaluate(point, **more) if found is None else found

        steps = self.optimizer.max_steps - len(accepted) + 1
        left = dataclasses.replace(self.optimizer, max_steps=steps)
        return left.run(once, report, accepted[-1], lower, upper, tree)
