"""How predictions change with one feature, on average over the rows of a table."""

from __future__ import annotations

from collections import Counter
from numbers import Real

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from ..estimators._common.table import is_frame
from ._axes import Closing, axes, legend, one_line
from .features import relevance

MOST = 200  # rows that are averaged over
NUMBERS, TIMES = "iuf", "Mm"  # kinds of types
ENDS = 0.05, 0.95  # quantiles of a feature between which its effect is shown


def effect(estimator, X, feature, *, points=20):
    """(values, mean, std): the partial dependence of the predictions on one feature::

        mean_i f(x_i with feature = v)    for each value v

    For classifiers f is the probability of each class, of the second if there are two. The mean is
    over all rows of X, of 200 evenly spaced ones if there are more.

    Parameters
    ----------
    estimator : fitted KernelBilevelRegressor or KernelBilevelClassifier
        Or a Pipeline that ends in one.
    X : DataFrame or array-like (n, d)
        As the estimator was fitted to it.
    feature : str or int
        The name or the place of a column.
    points : int
        The largest number of values. Of a column of numbers or dates all, or so many evenly between
        the 5 % and the 95 % quantile; of levels the most frequent ones.

    Returns
    -------
    values : ndarray (v,)
        Of dtype object if they are levels.
    mean : ndarray (v,) or (v, K)
    std : ndarray (v,) or None
        The standard deviation of the mean under the Gaussian process behind the model (see
        ``KernelBilevelRegressor.predict_average``). None where there is none: for classifiers,
        PowerTargetRegressor, and regressors of several outputs or with another loss than the
        squared one.

    Raises
    ------
    ValueError
        If X has no such column, if it has no cells, or ``points`` is not at least 2.

    References
    ----------
    Friedman (2001), Greedy Function Approximation: A Gradient Boosting Machine, Annals of
    Statistics 29, Section 8.2.
    """
    if points < 2:
        raise ValueError(f"points={points!r} must be at least 2")
    table = X if is_frame(X) else np.asarray(X)
    place = _place(table, feature)
    column = table.iloc[:, place] if is_frame(X) else table[:, place]
    steps, last = (estimator[:-1], estimator[-1]) if _is_pipeline(estimator) else ([], estimator)
    of_levels = not _is_pipeline(estimator) and last.is_categorical_[place]
    values = _levels(column, points) if of_levels else _values(column, points)
    if len(values) == 0:
        raise ValueError(f"feature={feature!r} has no cells in X: give rows that have some")
    chosen = np.unique(np.linspace(0, len(table) - 1, MOST).astype(int))
    found = []
    for value in values:
        rows = _with_column(table, chosen, place, value)
        found.append(_average(last, steps.transform(rows) if len(steps) else rows))
    means = np.array([mean for mean, _ in found])
    return values, means, None if found[0][1] is None else np.array([std for _, std in found])


def _is_pipeline(estimator):
    return isinstance(estimator, Pipeline)


def _with_column(table, chosen, place, value):
    """The chosen rows of a table, with one column set to a value."""
    if not is_frame(table):
        rows = table[chosen].astype(np.result_type(table, np.asarray(value)))
        rows[:, place] = value
        return rows
    rows = table.iloc[chosen].copy()
    old = rows.iloc[:, place]
    kind = old.dtype if old.dtype.kind not in NUMBERS else None  # between whole numbers too
    rows.isetitem(place, type(old)([value] * len(rows), index=rows.index, dtype=kind))
    return rows


def _average(estimator, rows):
    if is_classifier(estimator):
        mean = estimator.predict_proba(rows).mean(0)
        return (mean[1] if len(mean) == 2 else mean), None
    if hasattr(estimator, "noise_") and np.ndim(estimator.noise_) == 0:
        return estimator.predict_average(rows)
    return estimator.predict(rows).mean(0), None


def _place(table, feature):
    names = list(table.columns) if is_frame(table) else list(range(table.shape[1]))
    if feature in names:
        return names.index(feature)
    if isinstance(feature, int | np.integer) and -len(names) <= feature < len(names):
        return feature % len(names)
    raise ValueError(f"feature={feature!r} is no column of X: choose one of {names}")


def _values(column, points):
    """The values of a column that are shown, in their order."""
    known = _known(column)
    if column.dtype.kind == "O" and not hasattr(column.dtype, "categories") and all(
        isinstance(cell, Real) for cell in known
    ):
        known = np.array(known, float)
    elif column.dtype.kind not in f"{NUMBERS}{TIMES}":
        return _levels(column, points)
    known = np.asarray(known, float if column.dtype.kind in NUMBERS else None)
    found = np.unique(known)
    if len(found) <= points:
        return found
    low, high = np.quantile(known, ENDS)
    return low + (high - low) * np.linspace(0, 1, points)


def _levels(column, points):
    """The most frequent levels of a column: in the order of a category, else sorted."""
    counts = Counter(_known(column))
    levels = [level for level, _ in counts.most_common(points)]
    if getattr(column.dtype, "ordered", False):
        levels.sort(key=list(column.dtype.categories).index)
    else:
        number = [level for level in levels if isinstance(level, Real)]
        levels = sorted(number) + sorted((v for v in levels if not isinstance(v, Real)), key=str)
    found = np.empty(len(levels), object)
    found[:] = levels
    return found


def _known(column):
    missing = column.isna() if is_frame(column) else np.not_equal(column, column)
    return column[~missing]


class EffectDisplay(Closing):
    """The partial dependence on some features, side by side, with a band of two deviations.

    Parameters
    ----------
    effects : dict
        The results of ``effect`` by the names of features.
    classes : sequence of str, optional
        Labels of the curves, if there are several.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : ndarray of matplotlib Axes
    """

    def __init__(self, effects, classes=None):
        self.effects, self.classes = effects, classes

    @classmethod
    def from_estimator(cls, estimator, X, *, features=None, points=20):
        """Draw ``effect(estimator, X, feature, points=points)``.

        Parameters
        ----------
        estimator, X, points
            As in ``effect``.
        features : sequence of str or int, optional
            By default the three most relevant ones, for an estimator that is no Pipeline.
        """
        last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        if features is None:
            names = list(X.columns) if is_frame(X) else None
            features = relevance(last, range(np.shape(X)[1]) if names is None else names)[0][:3]
        several = is_classifier(last) and len(last.classes_) > 2
        effects = {name: effect(estimator, X, name, points=points) for name in features}
        return cls(effects, list(last.classes_) if several else None).plot()

    def plot(self):
        """Draw on new axes."""
        self.figure_, ax = axes(None, len(self.effects))
        self.ax_ = np.atleast_1d(ax)
        for panel, (name, (values, mean, std)) in zip(self.ax_, self.effects.items(), strict=True):
            of_levels = values.dtype == object
            places = np.arange(len(values)) if of_levels else values
            curves = np.atleast_2d(mean.T)
            labels = [None] * len(curves) if self.classes is None else self.classes
            for curve, label in zip(curves, labels, strict=True):
                (drawn,) = panel.plot(places, curve, "o" if of_levels else "-", label=label)
            color = drawn.get_color()
            if std is not None and of_levels:
                panel.errorbar(places, mean, 2 * std, fmt="none", color=color)
            elif std is not None:
                panel.fill_between(places, mean - 2 * std, mean + 2 * std, color=color, alpha=0.2)
            if of_levels:
                shown = [one_line(value) for value in values]
                panel.set_xlim(-0.5, len(shown) - 0.5)  # two of them would lie on the edges
                panel.set_xticks(places, shown, rotation=90 * (len(shown) > 4), parse_math=False)
            panel.set_xlabel(one_line(name), parse_math=False)
            panel.tick_params(labelsize=8)
        self.ax_[0].set_ylabel("mean prediction")
        if self.classes is not None:
            legend(self.ax_[0])
        return self
