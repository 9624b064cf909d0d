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
OWN_PAY = 0.6  # by this factor below the loss of a common lengthscale, own ones need no doubt
COMMON = "common lengthscale"  # the name of the stage
ONE = "one lengthscale"  # the name of the search with curves for features, but no lengthscales
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
        are of the marginal likelihood there may be two more searches. Five folds are searched if
        the loss is not lower by CLEAR than that of the stage with a common lengthscale, and their
        end is kept if its loss is lower by CLEAR again. One lengthscale with curves for each
        feature is searched by leaving one out, unless own lengthscales have lowered the loss by
        OWN_PAY, and is kept if its loss is lower; by SIMPLER than that of the first stage, which is
        simpler.
        """
        likely = task.kind == "nats"
        last = "marginal likelihood" if likely else "own lengthscales"
        ends = {**self._stage_ends, last: ended[0]}
        if not (likely or (len(ends) > 1 and self._draws_folds())):
            return task, ended
        bounds, rejected = ended[1:]
        found = {name: (task, end, bounds, self._course()) for name, end in ends.items()}
        judged = self._in_time(task, groups)
        loss = lambda omega: cv_loss(judged, omega, SEEDS, classifier, groups)  # noqa: E731
        losses = {name: loss(end.omega) for name, end in ends.items()}
        first, *later = losses
        for name in later:
            if _is_lower(losses[name], losses[first], SIMPLER):
                first = name
        common = losses.get(COMMON, 0.0)
        further = []
        if likely and not task.is_part:
            if losses[first] > CLEAR * common:
                further.append(("folds", CLEAR, lambda: self._on_folds(task)))
            if losses[first] > OWN_PAY * common > 0 and task.model.one_lengthscale() is not None:
                start, factor = ends[COMMON].omega, SIMPLER if first == COMMON else 1.0
                further.append((ONE, factor, lambda: self._with_one_lengthscale(task, start)))
        for name, factor, search in further:
            if self._interrupted or self._time_left() <= 0:
                break
            self.history_, self._said = [], {}
            other, result, bounds, more = search()
            rejected += more
            if result.status.usable:
                found[name] = (other, result, bounds, self._course())
                losses[name] = loss(result.omega)
                first = name if _is_lower(losses[name], losses[first], factor) else first
        task, best, bounds, course = found[first]
        self.history_, self.criterion_start_, self._said = course
        if first in ends and first != last:  # stages are of the first start, whose steps come first
            self.history_ = self.history_[: len(best.history)]
        self.kept_ = first
        return task, (best, bounds, rejected)

    def _course(self):
        """What a search leaves behind besides its end."""
        return self.history_, self.criterion_start_, self._said

    def _on_folds(self, task):
        """The search by five folds: its task, and what ``_from_all_starts`` returns."""
        other = self._by(task, "cv")
        return other, *self._from_all_starts(other)

    def _with_one_lengthscale(self, task, start):
        """The search with one lengthscale and curves, by leaving one out; as ``_on_folds``."""
        other = self._by(task, "loo")
        self.criterion_start_ = other.shown(other.session.value(task.model.start()))
        bounds = other.bounds()
        labels = task.model.one_lengthscale()
        result = self._minimize(other, bounds, 0, start, ".one", labels=labels)
        return other, result, bounds, result.n_rejected

    def _count_tuned(self, model):
        """How many numbers are tuned for the end that is kept, positions of centres aside."""
        kept = getattr(self, "kept_", None)
        stage = model.one_lengthscale() if kept == ONE else model.stages().get(kept)
        if stage is not None:
            return len(np.unique(stage[stage != InStages.held]))
        return model.count()

    def _draws_folds(self):
        """Whether other folds may be drawn than those of ``cv``."""
        return self.cv is None or isinstance(self.cv, Integral)

    def _by(self, task, name):
        """The task with the criterion "cv" or "loo" in place of its own."""
        weight, y = task.criterion.weight, task.targets[1]
        random = None if self.random_state is None else check_random_state(self.random_state)
        criterion = make_criterion(
            name, None, task.X, y, weight, False, random, task.model.inner_loss.base, None,
            task.whole.solver,
        )
        order = criterion.order
        targets = tuple(target[order] for target in task.targets)
        return Task(
            task.model, criterion, task.X[order], targets, task.whole, True, suffix=".folds"
        )


def _is_lower(loss, level, factor):
    """Whether a loss is below a level, which may be negative, by a factor."""
    return loss < level - (1 - factor) * abs(level)


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
