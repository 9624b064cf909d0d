"""The influence of samples, and the weights learned for them."""

from __future__ import annotations

import numpy as np

from ..estimators._common.validation import computing
from ..estimators.kernel.model import kernel_diagonal
from ._axes import axes, legend


def influence(estimator):
    """``‖θ_i k(x_i, ·)‖ = |θ_i| √k(x_i, x_i)``, (n,): the size of each sample's term in h.

    By the representer theorem h = Σ_i θ_i k(x_i, ·) with alpha·θ_i = −w_i ∂ℓ(h(x_i), y_i). The
    influence is large where h still errs after the fit. A sample with none could be left out
    without changing h.

    Parameters
    ----------
    estimator : fitted KernelBilevelRegressor or KernelBilevelClassifier

    Raises
    ------
    ValueError
        If h was fitted in the span of centres, which are not samples.
    """
    if getattr(estimator, "X_fit_", None) is None:
        raise ValueError(f"{type(estimator).__name__} has no dual_coef_: influence cannot be read")
    if not estimator.solver_.startswith(("Exact", "FullCG")):
        raise ValueError(
            f"h is in the span of centres (solver {estimator.solver_}): fit with solver='exact'"
        )
    theta = np.linalg.norm(estimator.dual_coef_.reshape(len(estimator.X_fit_), -1), axis=1)
    with computing(None):
        return theta * np.sqrt(kernel_diagonal(estimator.kernel_, estimator.X_fit_))


class SampleWeightDisplay:
    """Histogram of learned sample weights; larger weights mean more trust.

    Parameters
    ----------
    weights : array-like (n,)
    groups : None or array-like (n,) of bool
        What else is known about the samples, such as which labels are wrong. Samples for which it
        is true are shown separately.
    labels : pair of str
        Names in the legend of the samples for which ``groups`` is false and true.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    """

    def __init__(self, weights, groups=None, labels=("right", "wrong")):
        self.weights = np.asarray(weights, float)
        self.groups = None if groups is None else np.asarray(groups, bool)
        if self.groups is not None and self.groups.shape != self.weights.shape:
            raise ValueError(
                f"groups has shape {self.groups.shape}, but there are {len(self.weights)} weights"
            )
        self.labels = labels

    @classmethod
    def from_estimator(cls, estimator, *, wrong=None, ax=None):
        """Draw the untrusted samples of a fitted SampleReweightingClassifier or …Regressor.

        Parameters
        ----------
        estimator
        wrong : array-like (n,) of bool, optional
            Which samples, trusted ones included, are known to be wrong.
        ax : matplotlib Axes, optional
        """
        doubtful = ~estimator.trusted_
        groups = None if wrong is None else np.asarray(wrong, bool)[doubtful]
        return cls(estimator.sample_weight_[doubtful], groups).plot(ax)

    @classmethod
    def from_records(cls, records, *, ax=None):
        """Draw ``records``, dicts with "weight" and optionally "wrong", on the Axes ``ax``."""
        groups = [row["wrong"] for row in records] if "wrong" in records[0] else None
        return cls([row["weight"] for row in records], groups).plot(ax)

    def plot(self, ax=None):
        """Draw, on new axes unless ``ax`` is given."""
        self.figure_, self.ax_ = axes(ax)
        bins = np.linspace(0, max(1.0, self.weights.max()), 41)
        if self.groups is None:
            self.ax_.hist(self.weights, bins)
        else:
            parts = [self.weights[~self.groups], self.weights[self.groups]]
            self.ax_.hist(parts, bins, label=self.labels, stacked=True)
            legend(self.ax_)
        self.ax_.set(xlabel="learned weight", ylabel="samples")
        return self
