"""Which end of a search is kept, by a loss on folds that it has not seen."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from sklearn.utils import check_random_state

from ...optimizers import InStages
from .criterion import make_criterion
from .held_out import cv_loss
from .task import Task

CLEAR = 0.9  # a loss by this factor lower is no chance, nor what a search for it gains by itself
COMMON = "common lengthscale"  # the name of the stage
SEEDS = (11, 12, 13)  # of the draws of folds; cv_loss_ has others


class SecondOpinion:
    """The part of the estimators that does not take the marginal likelihood's word for it.

    Where the noise is not normal, the marginal likelihood may end at a model that follows it, or at
    one that sees nothing else.
    """

    def _best_by_folds(self, task, ended):
        """The task and the end, as ``_from_all_starts`` returns it, that are kept.

        Of the ends of the search's stages, the one with the lowest loss on folds. Unless it is
        lower by the factor CLEAR than that of the stage with a common lengthscale, five folds are
        searched too; their end is kept if its loss is lower than the lowest by CLEAR.
        """
        best, bounds, rejected = ended
        ends = {"marginal likelihood": best, **self._stage_ends}
        found = {name: (task, end, bounds) for name, end in ends.items()}
        loss = lambda omega: cv_loss(task, omega, SEEDS, False)  # noqa: E731
        losses = {name: loss(end.omega) for name, end in ends.items()}
        first = min(losses, key=losses.get)
        level = CLEAR * losses.get(COMMON, 0.0)
        enough = losses[first] <= level or self._interrupted or task.is_part
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


def ends_of_stages(model, result):
    """The ends of the stages before the last of a search of this model, by their names."""
    if not result.history:
        return {}
    flat = lambda omega: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(omega)])  # noqa: E731
    moves = [flat(record.omega) for record in result.history]
    ends, begun = {}, 0
    for name, labels in model.stages().items():
        place = begun
        while place + 1 < len(moves) and _together(moves[place + 1] - moves[begun], labels):
            place += 1
        if place > begun:
            last = result.history[place]
            ends[name] = replace(result, omega=last.omega, value=last.value)
        begun = place
    return ends


def _together(move, labels):
    """Whether numbers with the same label have moved by the same, and those held not at all."""
    held = labels == InStages.held
    if move[held].any():
        return False
    own, moved = labels[~held], move[~held]
    level = np.bincount(own, moved) / np.maximum(np.bincount(own), 1)
    return np.allclose(moved, level[own], rtol=1e-9, atol=1e-12)
