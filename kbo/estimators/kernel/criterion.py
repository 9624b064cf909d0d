"""The criteria that the estimators minimise: cross-validation, or criteria without folds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.base import is_regressor

from ... import criteria
from ...hypergradients import Implicit
from ...hypergradients.base import Method
from ...losses import as_loss
from ...solvers import Exact, Nystrom
from .._common.folds import make_folds
from .._common.scale import center_and_spread

CRITERIA = ("auto", "cv", "loo", "gcv", "marginal_likelihood", "complexity")
FEW_FOLDS = 5  # up to this many folds, fitting each costs less than one matrix inverse


class Criterion(NamedTuple):
    """A criterion as the weights of its problem and the method that evaluates it.

    Attributes
    ----------
    order : ndarray (n,)
        Indices that sort the samples; samples tested by the same fold are contiguous.
    train, test : ndarray (F, n)
        Inner and outer weights in that order.
    weight : ndarray (n,)
        Sample weights in that order.
    n_splits : int or None
    method : type
        Implicit, or a class of kbo.criteria.
    argument : object or None
        The argument of that class: fold numbers, the noise variance, or the unit of y.
    nonnegative : bool or None
        Whether the criterion is never negative; None means if the outer loss never is.
    """

    order: np.ndarray
    train: np.ndarray
    test: np.ndarray
    weight: np.ndarray
    n_splits: int | None
    method: type = Implicit
    argument: object = None
    nonnegative: bool | None = None

    def on(self, rows) -> Criterion:
        """The criterion on some of the samples, with the same sum of test weights in each fold."""
        test = self.test[:, rows]
        left = test.sum(1, keepdims=True)
        share = np.divide(self.test.sum(1, keepdims=True), left, out=0 * left, where=left > 0)
        per_sample = self.method is criteria.LeaveOut
        return self._replace(
            order=self.order[rows], train=self.train[:, rows], test=test * share,
            weight=self.weight[rows],
            argument=self.argument[rows] if per_sample else self.argument,
        )

    def method_for(self, size) -> Method:
        """The method, for samples padded to ``size``."""
        if self.method is criteria.LeaveOut:
            padding = np.full(size - len(self.argument), -1)
            return criteria.LeaveOut(np.concatenate([self.argument, padding]))
        return self.method() if self.argument is None else self.method(self.argument)


def criterion_name(estimator, inner, y, weight, groups=None) -> str:
    """The estimator's ``criterion``; for "auto", what it stands for.

    It is "marginal_likelihood" for a regression with squared losses, a solver that is exact or left
    open, samples that count alike and targets that vary, unless groups, folds, an outer loss,
    standard errors or learned centres are asked for. Otherwise it is "cv".

    Raises
    ------
    ValueError
        For an unknown name.
    """
    est = estimator
    if est.criterion != "auto":
        if est.criterion not in CRITERIA:
            raise ValueError(f"criterion={est.criterion!r} must be one of {CRITERIA}")
        return est.criterion
    closed = is_regressor(est) and as_loss(inner).constant_curvature
    if not (closed and leaves_open(est, groups)) or np.ndim(est.alpha):
        return "cv"
    used = weight > 0
    plain = np.ptp(weight[used]) == 0 and np.ptp(y[used], axis=0).all()
    return "marginal_likelihood" if plain else "cv"


def leaves_open(estimator, groups=None) -> bool:
    """Whether the user leaves open what the criterion is of: the solver is exact or "auto", and
    neither folds, groups, an outer loss, standard errors nor learned centres are asked for.
    """
    est = estimator
    open_solver = isinstance(est.solver, Exact) or est.solver in ("auto", "exact")
    asked = any(value is not None for value in (est.cv, est.outer_loss, est.groups, groups))
    centers = est.tune is not None and "centers" in np.atleast_1d(est.tune)
    return open_solver and not (asked or est.standard_errors or centers)


def make_criterion(
    name, cv, X, y, sample_weight, classifier, random_state, inner, outer_loss, solver, groups=None,
) -> Criterion:
    """The criterion of this name (see ``criterion_name``); ``cv="loo"`` means the criterion "loo".

    Raises
    ------
    ValueError
        For an unknown name, or a criterion that is not available for the loss, the solver or the
        estimator.
    """
    closed = as_loss(inner).constant_curvature and isinstance(solver, Exact)
    if isinstance(cv, str):
        if cv != "loo" or name not in ("cv", "loo"):
            raise ValueError(
                f"cv={cv!r} with criterion={name!r}: the only string allowed is cv='loo', with "
                "criterion='cv' or 'loo' (or 'auto')"
            )
        name = "loo"
    if groups is not None and name != "cv":
        raise ValueError(f"groups are for folds, and criterion={name!r} has no folds: use 'cv'")
    if name == "cv":
        # Always shuffled: tables are often sorted, by time or by the target itself.
        drawn = 0 if random_state is None else random_state
        folds = make_folds(cv, X, y, sample_weight, classifier, drawn, groups)
        found = Criterion(*folds, len(folds.train))
        return _from_one_factorisation(found) if closed else found
    if name == "loo":
        if not closed:
            raise ValueError(
                "leaving one out has a closed form for loss='squared' and solver='exact' only: "
                "give cv=sklearn.model_selection.LeaveOneOut(), or a number of folds"
            )
        return _leave_one_out(sample_weight)
    return _without_folds(name, y, sample_weight, classifier, inner, outer_loss, solver, closed)


def _from_one_factorisation(folds):
    """The same criterion by LeaveOut, if the folds partition the samples and are many."""
    tested = folds.test > 0
    complement = np.where(tested, 0.0, folds.weight)
    if len(tested) <= FEW_FOLDS or (tested.sum(0) > 1).any() or (folds.train != complement).any():
        return folds
    labels = np.where(tested.any(0), tested.argmax(0), -1)
    return folds._replace(
        train=folds.weight[None], test=folds.test.sum(0)[None], method=criteria.LeaveOut,
        argument=labels,
    )


def _leave_one_out(weight):
    n, used = len(weight), weight > 0
    if used.sum() < 2:
        raise ValueError(f"n_samples={used.sum()} cannot be split: give more samples, or tune=()")
    labels = np.where(used, np.arange(n), -1)
    return Criterion(
        np.arange(n), weight[None], weight[None], weight, int(used.sum()), criteria.LeaveOut, labels
    )


def _without_folds(name, y, weight, classifier, inner, outer_loss, solver, closed):
    if classifier:
        raise ValueError(f"criterion={name!r} is for regression: a classifier has 'cv' and 'loo'")
    if outer_loss is not None:
        raise ValueError(f"criterion={name!r} has no outer loss: leave outer_loss=None")
    squared = as_loss(inner).constant_curvature
    if not closed and name != "complexity":
        raise ValueError(f"criterion={name!r} needs loss='squared' and solver='exact'")
    if name == "complexity" and not (squared and isinstance(solver, Nystrom)):
        raise ValueError("criterion='complexity' needs loss='squared' and solver='nystrom'")
    argument = None
    if name != "gcv":  # the units of y, so that rescaling it changes nothing
        spread = center_and_spread(y.reshape(len(y), -1), weight)[1]
        variance = float(np.mean(spread**2)) or 1.0
        argument = variance if name == "complexity" else np.sqrt(variance)
    method = {
        "gcv": criteria.GCV, "marginal_likelihood": criteria.MarginalLikelihood,
        "complexity": criteria.NystromComplexity,
    }[name]
    rows = weight[None]
    return Criterion(
        np.arange(len(weight)), rows, rows, weight, None, method, argument,
        name != "marginal_likelihood",
    )
