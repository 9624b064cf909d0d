"""The search over an estimator's parameters as one bilevel problem, or as one for each fold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing, check_array

from ... import losses
from ...hypergradients import Implicit, Mean
from ...problem import BilevelProblem
from ...search.session import prepare
from .._common.bounds import bound_texts
from .._common.folds import bucket, pad
from .._common.validation import loss_by_name
from .adapters import ADAPTERS, Part
from .layers import check_not_overridden, unwrap
from .space import Dimension, Values, read_dimension

OUTER_LOSSES = {
    "squared": losses.Squared, "huber": losses.Huber, "logistic": losses.Logistic,
    "multinomial": losses.Multinomial,
}


class SearchProblem(NamedTuple):
    """The cross-validated loss as a function of the parameters searched.

    Attributes
    ----------
    problem : BilevelProblem
    method : Method
    dimensions : list of Dimension
        The parameters searched.
    nonnegative : bool
        Whether the criterion is never negative.
    prefix : str
        The prefix of the parameters' names in Pipelines and TransformedTargetRegressors.
    adapter : Adapter
    folds : callable
        () ↦ an iterator of Fold: the training and test sets as the innermost estimator sees them.
    """

    problem: BilevelProblem
    method: Any
    dimensions: list[Dimension]
    nonnegative: bool
    prefix: str
    adapter: Any
    folds: Any

    def start(self, random=None):
        """ω₀ at the estimator's own values, or drawn from the whole space by ``random``."""
        if random is None:
            return {d.name: np.asarray(d.coordinate(d.start)) for d in self.dimensions}
        return {d.name: np.asarray(d.draw(random)) for d in self.dimensions}

    def bounds(self):
        """The lower and upper ends of the ranges, each a dict like ω."""
        filled = lambda d, end: np.full(d.start.shape, float(d.coordinate(end)))  # noqa: E731
        lower = {d.name: filled(d, d.low) for d in self.dimensions}
        return lower, {d.name: filled(d, d.high) for d in self.dimensions}

    def value(self, omega):
        """L(ω); infinite where the fit fails."""
        with prepare(self.problem, omega, None, self.method) as session:
            return session.value()

    def outer_losses(self, candidates):
        """L at each dict of parameters by name, (k,); infinite where the fit fails."""
        values = []
        for candidate in candidates:
            omega = {}
            for d in self.dimensions:
                given = candidate[self.prefix + d.name]
                omega[d.name] = d.coordinate(np.broadcast_to(given, d.start.shape))
            values.append(self.value(omega))
        return np.array(values)

    def parameters(self, omega):
        """The parameters searched at ω, by their full names."""
        return self._named({d.name: d.value(omega[d.name]) for d in self.dimensions})

    def finished(self, parameters):
        """The parameters, where those that do not affect the criterion are set by the adapter."""
        own = self.adapter.finished(self._own(parameters), self.dimensions, self.folds)
        return self._named(own)

    def complaints(self, parameters):
        """The adapter's complaints about these parameters, a list of str (see Adapter)."""
        return self.adapter.complaints(self._own(parameters), self.folds)

    def bound_texts(self, parameters):
        """A list with a sentence for each parameter at an end of its range."""
        texts = []
        for d in self.dimensions:
            name, ends = self.prefix + d.name, (d.coordinate(d.low), d.coordinate(d.high))
            texts += bound_texts(name, d.coordinate(parameters[name]), *ends, d.value)
        return texts

    def _named(self, own):
        return {self.prefix + name: value for name, value in own.items()}

    def _own(self, parameters):
        return {name.removeprefix(self.prefix): value for name, value in parameters.items()}


def search_problem(estimator, param_space, X, y, splits, weight, outer_loss) -> SearchProblem:
    """The mean over the splits of the outer loss, as a function of the parameters searched.

    Parameters
    ----------
    estimator : estimator, Pipeline or TransformedTargetRegressor
    param_space : dict
    X, y : array-like
    splits : list of (train, test)
    weight : ndarray (n,)
    outer_loss : None, str or callable

    Raises
    ------
    ValueError
        For an estimator, parameter, range or loss that is not supported; the message names those
        that are.
    """
    inside = unwrap(estimator)
    kind = _known_kind(inside.final)
    if not is_classifier(inside.final):
        y = np.asarray(y, float)
    whole = inside.fold(X, _safe_indexing(X, [0]), y, y[:1], None)
    adapter = ADAPTERS[kind](inside.final, _points(whole.train), whole.y)
    dimensions = _dimensions(param_space, inside.prefix, adapter.defaults)
    values = Values.of(dimensions, adapter.defaults)
    chosen = adapter.outer_loss() if outer_loss is None else loss_by_name(
        outer_loss, OUTER_LOSSES, "outer_loss"
    )
    y = adapter.encode(y)

    def folds():
        for train, test in splits:
            points = _safe_indexing(X, train), _safe_indexing(X, test)
            yield inside.fold(*points, y[train], y[test], chosen)

    if not inside.layers and adapter.shares_points:
        problem, method = _one_problem(adapter, values, _points(X), y, splits, weight, chosen)
    else:
        problem, method = _one_each(adapter, values, folds(), y, splits, weight)
    nonnegative = getattr(chosen, "nonnegative", False)
    return SearchProblem(
        problem, method, dimensions, nonnegative, inside.prefix, adapter, folds
    )


def _known_kind(final):
    """The class in ADAPTERS that the estimator is an instance of, directly or by inheritance."""
    kind = next((kind for kind in type(final).__mro__ if kind in ADAPTERS), None)
    if kind is None:
        known = sorted(kind.__name__ for kind in ADAPTERS)
        raise ValueError(
            f"estimator={type(final).__name__} is not differentiable here: use one of {known}, or "
            "a Pipeline or TransformedTargetRegressor around one, or make it known by "
            "kbo.register_adapter"
        )
    check_not_overridden(final, kind)
    return kind


def _dimensions(param_space, prefix, defaults):
    known = sorted(prefix + name for name in defaults)
    if not param_space:
        raise ValueError(f"param_space is empty: give ranges for some of {known}")
    unknown = sorted(set(param_space) - set(known))
    if unknown:
        raise ValueError(
            f"param_space has {unknown}, which no gradient reaches: it may have {known}"
        )
    return [
        read_dimension(name, given, defaults[name.removeprefix(prefix)])._replace(
            name=name.removeprefix(prefix)
        )
        for name, given in param_space.items()
    ]


def _points(X):
    return check_array(X, dtype=np.float64)


def _one_problem(adapter, values, X, y, splits, weight, outer_loss):
    """One problem with a replicate for each fold, samples ordered by the fold that tests them."""
    n = len(X)
    train, test = np.zeros((len(splits), n)), np.zeros((len(splits), n))
    for f, (train_rows, test_rows) in enumerate(splits):
        np.add.at(train[f], train_rows, weight[train_rows])
        np.add.at(test[f], test_rows, weight[test_rows])
    order = np.argsort(test.astype(bool).argmax(0), kind="stable")
    extra = ((0, 0), (0, bucket(n) - n))
    points, targets = pad(X[order], bucket(n)), pad(y[order], bucket(n))
    weights = [np.pad(side[:, order], extra) for side in (train, _shares(test))]
    parts = [Part(points, targets, side) for side in weights]
    return adapter.problem(values, *parts, outer_loss), Implicit()


def _one_each(adapter, values, folds, y, splits, weight):
    """One problem for each split, with the outer layers fitted to its training set."""
    problems = []
    for fold, (train, test) in zip(folds, splits, strict=True):
        parts = []
        for rows, x, targets in ((train, fold.train, fold.y), (test, fold.test, y[test])):
            size = bucket(len(rows))
            weights = np.pad(weight[rows], (0, size - len(rows)))[None]
            parts.append(Part(pad(_points(x), size), pad(targets, size), weights))
        parts[1] = parts[1]._replace(weights=_shares(parts[1].weights))
        problems.append(adapter.problem(values, *parts, fold.loss))
    return problems[0], Mean(tuple(problems))


def _shares(weights):
    """The weights (F, n), normalised to sum to one in each fold."""
    total = weights.sum(1, keepdims=True)
    if not (total > 0).all():
        raise ValueError("a split has no test sample of positive weight")
    return weights / total
