"""Which features matter."""

from __future__ import annotations

import numpy as np

from ._axes import axes, one_line
from .convergence import ConvergenceDisplay


def relevance(estimator, names=None):
    """(names, values): spread/lengthscale of each feature relative to the largest, sorted.

    With ``groups``, it is multiplied by the square root of the group's weight in the kernel. The
    largest value comes first.

    Parameters
    ----------
    estimator : fitted KernelBilevelRegressor or KernelBilevelClassifier
    names : sequence of str, optional
        Names of the features; by default those seen in ``fit``, or x0, x1, ….

    Raises
    ------
    ValueError
        If the estimator has no lengthscale per feature, or the number of names is wrong.
    """
    strength = relative_relevance(estimator)
    names = feature_names(estimator, names)
    order = np.argsort(-strength, kind="stable")
    return names[order], strength[order]


def relative_relevance(estimator):
    """The values of ``relevance``, in the order of the features."""
    lengthscale = np.atleast_1d(getattr(estimator, "lengthscale_", np.empty(0)))
    # A factor common to all features tells nothing about one of them, unless groups have weights.
    one_for_all = getattr(estimator, "ard", True) is False and (
        getattr(estimator, "groups", None) is None
    )
    if lengthscale.size != estimator.n_features_in_ or one_for_all:
        raise ValueError(
            "the estimator has no lengthscale_ of one per feature: fit one kernel by name with "
            "ard=True"
        )
    variance = np.bincount(estimator.columns_, estimator.X_fit_.var(0))
    strength = np.sqrt(variance) / lengthscale
    if hasattr(estimator, "group_alpha_"):
        group = np.unique(np.asarray(estimator.groups), return_inverse=True)[1]
        strength = strength / np.sqrt(estimator.group_alpha_[group])
    return strength / max(strength.max(), np.finfo(float).tiny)


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
        """Draw the ``features`` of a report: dicts with the keys "name" and "relevance"."""
        names = [row["name"] for row in records]
        return cls(names, [row["relevance"] for row in records]).plot(ax)

    def plot(self, ax=None):
        """Draw, on new axes unless ``ax`` is given."""
        self.figure_, self.ax_ = axes(ax)
        height = np.arange(len(self.names))
        self.ax_.barh(height, self.strengths[::-1])
        shown = [one_line(name) for name in self.names[::-1]]
        self.ax_.set_yticks(height, shown, fontsize=8, parse_math=False)
        self.ax_.set(xlabel="relevance (scaled 1/lengthscale)")
        return self


class TuningDisplay:
    """The criterion against time and, beside it, the relevance of each feature.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : ndarray of matplotlib Axes
    """

    @classmethod
    def from_estimator(cls, estimator, *, names=None):
        """Draw a fitted KernelBilevelRegressor or KernelBilevelClassifier.

        Parameters
        ----------
        estimator
        names : sequence of str, optional
        """
        display = cls()
        try:
            strengths = relevance(estimator, names)
        except ValueError:
            strengths = None
        display.figure_, ax = axes(None, 1 if strengths is None else 2)
        display.ax_ = np.atleast_1d(ax)
        ConvergenceDisplay.from_estimator(estimator, ax=display.ax_[0])
        display.ax_[0].set_title("Tuning")
        if strengths is not None:
            RelevanceDisplay(*(part[:20] for part in strengths)).plot(display.ax_[1])
            display.ax_[1].set_title("Features")
        return display

    def close(self):
        """Close the figure, to free its memory."""
        import matplotlib.pyplot as plt

        plt.close(self.figure_)
