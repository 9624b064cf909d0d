"""Pictures of a fitted estimator. matplotlib is imported when a picture is drawn."""

from __future__ import annotations

import numpy as np


def relevance(estimator, names=None):
    """spread/lengthscale of each feature relative to the largest: (names, values), largest first.

    Raises
    ------
    ValueError
        If the estimator has no lengthscale per feature.
    """
    lengthscale = np.atleast_1d(getattr(estimator, "lengthscale_", np.empty(0)))
    if lengthscale.size != estimator.n_features_in_:
        raise ValueError(
            "the estimator has no lengthscale_ of one per feature: fit one kernel by name with "
            "ard=True"
        )
    spread = estimator.X_fit_.std(0)
    strength = spread / lengthscale
    strength = strength / max(strength.max(), np.finfo(float).tiny)
    names = np.asarray([f"x{k}" for k in range(strength.size)] if names is None else names)
    order = np.argsort(-strength, kind="stable")
    return names[order], strength[order]


class TuningDisplay:
    """The criterion against time, and which features matter.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : array of matplotlib Axes
    """

    def __init__(self, history, names, strengths):
        self.history, self.names, self.strengths = history, names, strengths

    @classmethod
    def from_estimator(cls, estimator, names=None):
        """Draw a fitted KernelBilevelRegressor or KernelBilevelClassifier.

        Parameters
        ----------
        estimator
        names : sequence of str, optional
            Feature names.
        """
        try:
            names, strengths = relevance(estimator, names)
        except ValueError:
            names, strengths = None, None
        return cls(estimator.history_, names, strengths).plot()

    def plot(self):
        """Draw on a new figure."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        panels = 1 if self.names is None else 2
        self.figure_ = Figure(figsize=(5 * panels, 3.6), layout="constrained")
        FigureCanvasAgg(self.figure_)
        self.ax_ = np.atleast_1d(self.figure_.subplots(1, panels))
        seconds = [step["seconds"] for step in self.history]
        self.ax_[0].plot(seconds, [step["value"] for step in self.history], "o-", ms=3)
        self.ax_[0].set(xlabel="seconds", ylabel="cross-validated criterion", title="Tuning")
        if self.names is not None:
            shown = slice(None, 20)
            names, strengths = self.names[shown][::-1], self.strengths[shown][::-1]
            self.ax_[1].barh(np.arange(len(names)), strengths)
            self.ax_[1].set_yticks(np.arange(len(names)), names, fontsize=8)
            self.ax_[1].set(xlabel="relevance (scaled 1/lengthscale)", title="Features")
        return self
