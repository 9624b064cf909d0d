"""The best value so far against time."""

from __future__ import annotations

import numpy as np

from ._axes import axes, legend


class ConvergenceDisplay:
    """Criterion (or score) reached against wall time, for one search or several.

    Parameters
    ----------
    curves : dict of str to pair (seconds, values) of array-like
        For each time, the best value up to it is drawn.
    higher_is_better : bool
    ylabel : str

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    lines_ : dict of str to Line2D
    """

    def __init__(self, curves, *, higher_is_better=False, ylabel="criterion"):
        best = np.fmax if higher_is_better else np.fmin  # these ignore failed points (NaN)
        self.curves = {}
        for name, curve in curves.items():
            seconds, values = (np.asarray(side, float) for side in curve)
            if seconds.shape != values.shape or seconds.ndim != 1 or not len(seconds):
                raise ValueError(
                    f"curves[{name!r}] has shapes {seconds.shape} and {values.shape}: give as many "
                    "seconds as values, one at least"
                )
            self.curves[name] = seconds, best.accumulate(values)
        self.ylabel = ylabel

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None):
        """Draw the search of a fitted estimator with ``history_``.

        Parameters
        ----------
        estimator : KernelBilevelRegressor, KernelBilevelClassifier or SampleReweighting…
        name : str, optional
            The name in the legend; by default that of the class.
        ax : matplotlib Axes, optional
        """
        label = type(estimator).__name__ if name is None else name
        return cls.from_records({label: estimator.history_}, ax=ax)

    @classmethod
    def from_records(cls, records, *, value="value", ax=None, **settings):
        """Draw lists of dicts, one dict for each step, such as ``history_``.

        Parameters
        ----------
        records : dict of str to list of dict
            The dicts have the keys "seconds" and ``value``.
        value : str
            The key of the values to draw.
        ax : matplotlib Axes, optional
        **settings
            ``higher_is_better`` and ``ylabel``.
        """
        curves = {
            name: ([step["seconds"] for step in steps], [step[value] for step in steps])
            for name, steps in records.items()
        }
        return cls(curves, **settings).plot(ax)

    @classmethod
    def from_cv_results(cls, results, *, metric="score", ax=None):
        """Draw the ``cv_results_`` of searches of scikit-learn or of kbo.

        The time of a candidate is the total time of all fits and scores up to it, on one core; what
        a search does between them is not included.

        Parameters
        ----------
        results : dict of str to dict
            ``cv_results_`` by name.
        metric : str
            As in ``mean_test_score``.
        ax : matplotlib Axes, optional
        """
        curves = {}
        for name, found in results.items():
            splits = sum(key.startswith("split") and key.endswith(f"_test_{metric}")
                         for key in found)
            each = np.asarray(found["mean_fit_time"]) + np.asarray(found["mean_score_time"])
            curves[name] = splits * np.cumsum(each), found[f"mean_test_{metric}"]
        return cls(curves, higher_is_better=True, ylabel=f"best mean test {metric}").plot(ax)

    def plot(self, ax=None):
        """Draw, on new axes unless ``ax`` is given."""
        self.figure_, self.ax_ = axes(ax)
        self.lines_ = {
            name: self.ax_.step(*curve, where="post", marker="o", ms=3, label=name)[0]
            for name, curve in self.curves.items()
        }
        self.ax_.set(xlabel="seconds", ylabel=self.ylabel)
        if len(self.curves) > 1:
            legend(self.ax_)
        return self
