"""The loss on held-out folds that no search has seen."""

from __future__ import annotations

import numpy as np

from ...criteria import LeaveOut
from ...hypergradients import Implicit
from ...losses import as_loss
from ...solvers import Exact
from .._common.folds import make_folds
from .task import padded_problem

SEEDS = (1, 2, 3)  # of the draws of folds; a search without a random_state draws its own by 0


def cv_loss(task, omega, seeds, classifier, groups=None) -> float:
    """The mean outer loss of shuffled fivefolds at ω, without the prior.

    All draws of folds where they come from one factorisation, for squared losses; else one.

    Parameters
    ----------
    task : Task
    omega : pytree
    seeds : tuple of int
        Of the draws.
    classifier : bool
        Whether folds are stratified.
    groups : ndarray (n,), optional
        Of the samples as the criterion was made from them; those of a group stay in one fold.
    """
    if groups is not None:
        groups = np.asarray(groups)[task.criterion.order]
    weight = task.criterion.weight
    squared = as_loss(task.model.inner_loss.base).constant_curvature and task.model.alpha.ndim == 0
    closed = squared and isinstance(task.whole.solver, Exact)
    trains, tests = [], []
    for seed in seeds if closed else seeds[:1]:
        folds = make_folds(None, task.X, task.targets[1], weight, classifier, seed, groups)
        back = np.argsort(folds.order)
        trains.append(folds.train[:, back])
        tests.append(folds.test[:, back])
    if not closed:
        problem = padded_problem(task.model, task.X, task.targets, trains[0], tests[0])
        return task.whole.of(problem, Implicit()).value(omega)
    judged = np.stack([test.sum(0) for test in tests])
    problem = padded_problem(task.model, task.X, task.targets, weight[None], judged)
    labels = np.full((len(tests), problem.inner_data.size), -1)
    for own, test in zip(labels, tests, strict=True):
        own[: test.shape[1]] = np.where(test.any(0), test.argmax(0), -1)
    return task.whole.of(problem, LeaveOut(labels)).value(omega)
