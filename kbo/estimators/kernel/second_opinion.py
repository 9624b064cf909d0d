"""Which end of a search is kept, by a loss on folds that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral

import jax
import numpy as np
from sklearn.utils import check_random_state

from ...optimizers import InStages
from .criterion import make_criterion
from .held_out import cv_loss
from .task import Task

CLEAR = 0.9  # a loss by this factor lower is no chance, nor what a search for it gains by itself
SIMPLER = 0.97  # unless its loss is by this factor lower, a later stage's end is not worth it
COMMON = "common lengthscale"  # the name of the stage
SEEDS = (11, 12, 13)  # of the draws of folds; cv_loss_ has others


class SecondOpinion:
    """The part of the estimators that checks the minimum of a criterion by another loss.

    With a lengthscale for each feature, folds can be overfitted; where the noise is not normal, the
    marginal likelihood may end at a model that follows the noise, or at one that takes everything
    for noise.
    """

    def _best_by_folds(self, task, ended, classifier, groups):
        """The task and the end, as ``_from_all_starts`` returns it, that are kept.

        The ends of the search's stages are compared by their loss on folds, from the simplest on: a
        later one is kept if its loss is lower by SIMPLER than that of the one kept so far. If they
        are of the marginal likelihood, and the loss is not lower by CLEAR than that of the stage
        with a common lengthscale, five folds are searched too; their end is kept if its loss is
        lower by CLEAR again.
        """
        likely = task.kind == "nats"
        last = "marginal likelihood" if likely else "own lengthscales"
        ends = {**self._stage_ends, last: ended[0]}
        if not (likely or (len(ends) > 1 and self._draws_folds())):
            return task, ended
        bounds, rejected = ended[1:]
        found = {name: (task, end, bounds) for name, end in ends.items()}
        judged = self._in_time(task, groups)
        loss = lambda omega: cv_loss(judged, omega, SEEDS, classifier, groups)  # noqa: E731
        losses = {name: loss(end.omega) for name, end in ends.items()}
        first, *later = losses
        for name in later:
            if losses[name] < losses[first] - (1 - SIMPLER) * abs(losses[first]):
                first = name
        level = CLEAR * losses.get(COMMON, 0.0)
        enough = losses[first] <= level or self._interrupted or task.is_part
        if likely and not enough and self._time_left() > 0:
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
        if first not in (last, "folds"):  # stages are of the first start, whose steps come first
            self.history_ = self.history_[: len(ends[first].history)]
        self.kept_ = first
        task, best, bounds = found[first]
        return task, (best, bounds, rejected)

    def _count_tuned(self, model):
        """How many numbers are tuned for the end that is kept, positions of centres aside."""
        stage = model.stages().get(getattr(self, "kept_", None))
        if stage is not None:
            return len(np.unique(stage[stage != InStages.held]))
        return model.count()

    def _draws_folds(self):
        """Whether other folds may be drawn than those of ``cv``."""
        return self.cv is None or isinstance(self.cv, Integral)

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
            last, known = result.history[place], result.history[: place + 1]
            ends[name] = replace(
                result, omega=last.omega, value=last.value, history=known, n_steps=place
            )
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
