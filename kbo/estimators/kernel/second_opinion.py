"""Which end of a search is kept, by its loss on left-out rows and the count of its numbers."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral

import jax
import numpy as np

from ...optimizers import InStages
from .criterion import make_criterion
from .held_out import cv_loss
from .task import Task
from .tuning import better_start

PRICE = 1.0  # of each tuned number: this over n in the logarithm of the loss; 2 is Akaike's
OWN_PAY = 0.6  # by this factor below the loss of a common lengthscale, own ones need no doubt
COMMON = "common lengthscale"  # the name of the stage
ALONE = "leave-one-out"  # the name of the search by this criterion
SEEDS = (11, 12, 13)  # of the draws of folds; cv_loss_ has others


class SecondOpinion:
    """The part of the estimators that chooses among the ends of searches.

    A criterion of a lengthscale and a curve for each feature can be overfitted. The marginal
    likelihood may moreover end at a model that follows the noise where this is not normal, or at
    one that takes everything for noise.
    """

    def _kept_of(self, task, ended, classifier, groups):
        """The task and the end, as ``_from_all_starts`` returns it, that are kept.

        They are the ones with the lowest L exp(PRICE q/n). q numbers are tuned, and n samples
        judge; L is the loss on other folds, or, where ends are of the marginal likelihood, the mean
        of this and the leave-one-out loss. Among the ends are those of the search's stages. If they
        are of the marginal likelihood, a common factor for all lengthscales with curves for
        features is searched by leaving one out too, unless own lengthscales have lowered L by
        OWN_PAY.

        References
        ----------
        Akaike (1970), Statistical Predictor Identification, Annals of the Institute of Statistical
        Mathematics 22 (a squared loss is too low by the factor exp(-2q/n), nearly, where it is
        minimised over q numbers without a prior).
        """
        likely = task.kind == "nats"
        last = "marginal likelihood" if likely else "own lengthscales"
        ends = {**self._stage_ends, last: ended[0]}
        if not (likely or (len(ends) > 1 and self._draws_folds())):
            return task, ended
        bounds, rejected = ended[1:]
        found = {name: (task, end, bounds, self._course()) for name, end in ends.items()}
        price = self._price(self._in_time(task, groups), classifier, groups)
        prices = {name: price(name, end.omega) for name, end in ends.items()}
        kept = min(prices, key=prices.get)
        doubtful = likely and prices[kept] > OWN_PAY * prices.get(COMMON, 0.0)
        if doubtful and not (task.is_part or self._interrupted) and self._time_left() > 0:
            self.history_, self._said = [], {}
            other, result, limits = self._search_leaving_out(task, next(iter(ends.values())).omega)
            rejected += result.n_rejected
            if result.status.usable and price(ALONE, result.omega) < prices[kept]:
                kept, found[ALONE] = ALONE, (other, result, limits, self._course())
        task, best, bounds, course = found[kept]
        self.history_, self.criterion_start_, self._said = course
        if kept in ends and kept != last:  # stages are of the first start, whose steps come first
            self.history_ = self.history_[: len(best.history)]
        self.kept_ = kept
        return task, (best, bounds, rejected)

    def _price(self, task, classifier, groups):
        """The function of an end's name and ω that decides; a negative L is raised alike."""
        losses = [lambda omega: cv_loss(task, omega, SEEDS, classifier, groups)]
        if task.kind == "nats":
            losses.append(self._task_leaving_out(task).plain().value)

        def price(name, omega):
            value = float(np.mean([loss(omega) for loss in losses]))
            share = self._count_tuned(task.model, name) / task.samples
            found = value + abs(value) * np.expm1(PRICE * share)
            return found if np.isfinite(found) else np.inf

        return price

    def _course(self):
        """What a search leaves behind besides its end."""
        return self.history_, self.criterion_start_, self._said

    def _search_leaving_out(self, task, start):
        """The search with a common factor for all lengthscales: its task, result and bounds.

        It begins at ``start``, or at the start of a search of its own if the loss is lower there.
        """
        other = self._task_leaving_out(task)
        bounds, labels = other.bounds(), task.model.tied_lengthscales()
        self.criterion_start_ = other.shown(other.session.value(task.model.start()))
        starts = jax.tree.map(np.clip, start, *bounds), better_start(
            other, self._robust, self._time_left
        )[1]
        start = min(starts, key=other.session.value)
        return other, *self._in_moving_bounds(other, bounds, 0, start, "", labels=labels)

    def _count_tuned(self, model, kept):
        """How many numbers are tuned for the end of this name, positions of centres aside."""
        stage = model.tied_lengthscales() if kept == ALONE else model.stages().get(kept)
        return model.count() if stage is None else int(stage.max()) + 1

    def _draws_folds(self):
        """Whether other folds may be drawn than those of ``cv``."""
        return self.cv is None or isinstance(self.cv, Integral)

    def _task_leaving_out(self, task):
        """The task with the leave-one-out loss in place of its criterion."""
        weight, y = task.criterion.weight, task.targets[1]
        criterion = make_criterion(
            "loo", None, task.X, y, weight, False, None, task.model.inner_loss.base, None,
            task.whole.solver,
        )
        return Task(task.model, criterion, task.X, task.targets, task.whole, True, suffix=".loo")


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
