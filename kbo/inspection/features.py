"""Which features matter."""

from __future__ import annotations

import numpy as np

from ..estimators._common.start import kernel_names
from ..estimators._common.validation import computing
from ._axes import Closing, axes, one_line
from .convergence import ConvergenceDisplay


def relevance(estimator, names=None):
    """(names, values): how much of h depends on each feature, the largest first and 1::

        √(k(m, m) − 2 k(m, m + s_j) + k(m + s_j, m + s_j))

    This is the standard deviation, under the Gaussian process with the tuned kernel k, of the
    change of h from the mean m of the points when feature j moves by its standard deviation s_j
    (for a category, those of all its levels), after clipping to six robust standard deviations, so
    that one wrong cell does not count. Values are relative to the largest. For one kernel with long
    lengthscales, it is s_j/lengthscale_j.

    Parameters
    ----------
    estimator : fitted KernelBilevelRegressor or KernelBilevelClassifier
    names : sequence of str, optional
        Names of the features; by default those seen in ``fit``, or x0, x1, ….

    Raises
    ------
    ValueError
        If all features have one tuned factor, or the number of names is wrong.
    """
    strength = relative_relevance(estimator)
    names = feature_names(estimator, names)
    order = np.argsort(-strength, kind="stable")
    return names[order], strength[order]


def relative_relevance(estimator):
    """The values of ``relevance``, in the order of the features."""
    # A factor common to all features tells nothing about one of them, unless groups have weights.
    by_name = kernel_names(estimator.kernel) is not None and estimator.groups is None
    if by_name and estimator.ard is False:
        raise ValueError(
            "all features have one tuned factor, which tells nothing about one of them: fit with "
            "ard=True"
        )
    points, columns = estimator.X_fit_, estimator.columns_
    spread = np.minimum(points.std(0), estimator._table.units.spread)
    moves = np.eye(estimator.n_features_in_)[:, columns] * spread
    places = points.mean(0) + np.vstack([np.zeros(len(columns)), moves])
    with computing(estimator.device):
        values = np.asarray(estimator.kernel_.matrix(places, places))
    own = np.diag(values)
    change = np.sqrt(np.maximum(own[0] - 2 * values[0] + own, 0.0))[1:]
    return change / max(change.max(), np.finfo(float).tiny)


def feature_names(estimator, names=None):
    """The given names, or those seen in ``fit``, or x0, x1, …."""
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        names = [f"x{k}" for k in range(estimator.n_features_in_)]
    if len(names) != estimator.n_features_in_:
        raise ValueError(f"{len(names)} names for {estimator.n_features_in_} features")
    return np.asarray(names, dtype=object)


class RelevanceDisplay:
    """Bars of the relevance of each feature, the largest at the top.

    Parameters
    ----------
    names : sequence of str
    strengths : array-like

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    """

    def __init__(self, names, strengths):
        self.names, self.strengths = np.asarray(names), np.asarray(strengths, float)

    @classmethod
    def from_estimator(cls, estimator, *, names=None, top=20, ax=None):
        """Draw ``relevance(estimator)``.

        Parameters
        ----------
        estimator, names
            As in ``relevance``.
        top : int
            The largest number of features drawn.
        ax : matplotlib Axes, optional
        """
        names, strengths = relevance(estimator, names)
        return cls(names[:top], strengths[:top]).plot(ax)

    @classmethod
    def from_records(cls, records, *, ax=None):
        """Draw the ``features`` of a report: ``records`` with the keys "name" and "relevance".

        ``ax`` is the Axes to draw on; by default a new figure's.
        """
        names = [row["name"] for row in records]
        return cls(names, [row["relevance"] for row in records]).plot(ax)

    def plot(self, ax=None):
        """Draw, on new axes unless ``ax`` is given."""
        self.figure_, self.ax_ = axes(ax)
        height = np.arange(len(self.names))
        self.ax_.barh(height, self.strengths[::-1])
        shown = [one_line(name) for name in self.names[::-1]]
        self.ax_.set_yticks(height, shown, fontsize=8, parse_math=False)
        self.ax_.set(xlabel="relevance")
        return self


class TuningDisplay(Closing):
    """The criterion against time and, beside it, the relevance of each feature.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : ndarray of matplotlib Axes
    """

    @classmethod
    def from_estimator(cls, estimator, *, names=None, records=None):
        """Draw a fitted KernelBilevelRegressor or KernelBilevelClassifier.

        Parameters
        ----------
        estimator
        names : sequence of str, optional
        records : list of dict, optional
            The ``features`` of a report, to be drawn in place of the estimator's columns.
        """
        display = cls()
        try:
            strengths = relevance(estimator, names) if records is None else (
                [row["name"] for row in records], [row["relevance"] for row in records])
        except ValueError:
            strengths = None
        if strengths is not None and not len(strengths[0]):
            strengths = None
        display.figure_, ax = axes(None, 1 if strengths is None else 2)
        display.ax_ = np.atleast_1d(ax)
        ConvergenceDisplay.from_estimator(estimator, ax=display.ax_[0])
        display.ax_[0].set_title("Tuning")
        if strengths is not None:
            RelevanceDisplay(*(part[:20] for part in strengths)).plot(display.ax_[1])
            display.ax_[1].set_title("Features")
        return display
