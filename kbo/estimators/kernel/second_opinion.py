"""Which end of a search is kept, by a loss on folds that it has not seen."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from sklearn.utils import check_random_state

from .criterion import make_criterion
from .held_out import cv_loss
from .task import Task

CLEAR = 0.9  # a loss by this factor lower is no chance, nor what a search for it gains by itself
SEEDS = (11, 12, 13)  # of the draws of folds; cv_loss_ has others


class SecondOpinion:
    """The part of the estimators that does not take the marginal likelihood's word for it.

    Where the noise is not normal, the marginal likelihood may end at a model that follows it, or at
    one that sees nothing else.
    """

    def _best_by_folds(self, task, ended):
        """The task and the end, as ``_from_all_starts`` returns it, that are kept.

        Kept is the end with a lengthscale for each feature, or, if its loss on folds is lower, that
        of the stage with a common one. Unless the loss of the first is lower by the factor CLEAR,
        five folds are searched too; their end is kept if its loss is lower than both by CLEAR.
        """
        best, bounds, rejected = ended
        loss = lambda omega: cv_loss(task, omega, SEEDS, False)  # noqa: E731
        found = {"marginal likelihood": (task, best, bounds)}
        losses = {"marginal likelihood": loss(best.omega)}
        if self._tied_end is not None:
            found["common lengthscale"] = (task, self._tied_end, bounds)
            losses["common lengthscale"] = loss(self._tied_end.omega)
        first = min(losses, key=losses.get)
        level = CLEAR * losses.get("common lengthscale", 0.0)
        enough = losses["marginal likelihood"] <= level or self._interrupted or task.is_part
        if not enough and self._time_left() > 0:
            state = self.history_, self.criterion_start_, self._said
            other = self._by_folds(task)
            self.history_, self._said = [], {}
            result, *more = self._from_all_starts(other)
            rejected += more[1]
            if result.status.usable:
                lowest, losses["folds"] = losses[first], loss(result.omega)
                if losses["folds"] < CLEAR * lowest:
                    first, found["folds"] = "folds", (other, result, more[0])
            if first != "folds":
                self.history_, self.criterion_start_, self._said = state
        self.kept_ = first
        task, best, bounds = found[first]
        return task, (best, bounds, rejected)

    def _by_folds(self, task):
        """The task with the criterion "cv" in place of its own."""
        weight, y = task.criterion.weight, task.targets[1]
        random = None if self.random_state is None else check_random_state(self.random_state)
        criterion = make_criterion(
            "cv", None, task.X, y, weight, False, random, task.model.inner_loss.base, None,
            task.whole.solver,
        )
        order = criterion.order
        targets = tuple(target[order] for target in task.targets)
        return Task(
            task.model, criterion, task.X[order], targets, task.whole, True, suffix=".folds"
        )


def last_tied(model, result):
    """The end of the stage in which lengthscales move together; None if there was none."""
    labels = model.labels()
    if labels.max(initial=-1) + 1 == len(labels) or not result.history:
        return None
    flat = lambda omega: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(omega)])  # noqa: E731
    start = flat(result.history[0].omega)
    last = None
    for record in result.history:
        moved = flat(record.omega) - start
        level = np.bincount(labels, moved) / np.bincount(labels)
        if not np.allclose(moved, level[labels], rtol=1e-9, atol=1e-12):
            break
        last = record
    return None if last is None else replace(result, omega=last.omega, value=last.value)
