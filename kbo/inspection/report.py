"""A short report of the features and samples that matter to a fitted estimator."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sklearn.base import is_classifier

from ..estimators.kernel.second_opinion import COMMON
from ..html import Shown, bars, facts
from ._axes import one_line
from .features import feature_names, relative_relevance
from .samples import influence

IRRELEVANT = 0.02  # relative relevance below which a feature is shown as switched off
EQUAL = 0.01  # difference of relevances below which features are told to be alike
SHOWN = 20  # features printed, at most
MORE = {
    "kept_": "kept", "cv_loss_": "loss on other folds", "noise_": "standard deviation of noise",
}
UNITS = {"squared": "half the mean squared error", "quantile": "pinball loss"}


@dataclass(frozen=True)
class Report(Shown):
    """What ``report`` found, to be printed.

    Attributes
    ----------
    features : list of dict
        name, lengthscale and relevance, the most relevant first. Empty unless each feature has its
        own lengthscale.
    samples : list of dict
        index (of the row in ``fit``) and influence, the largest first. Empty if h is in the span of
        centres.
    numbers : dict
        solver, criterion and alpha, the last two with their standard errors if these were computed;
        the end that was kept, the loss on folds that no search has seen, and the noise, where the
        estimator has them.
    """

    features: list = field(default_factory=list)
    samples: list = field(default_factory=list)
    numbers: dict = field(default_factory=dict)

    @property
    def alike(self):
        """Whether no feature was found to matter more than the others."""
        relevances = [row["relevance"] for row in self.features]
        common = self.numbers.get("kept") == COMMON
        return len(relevances) > 1 and bool(common or np.ptp(relevances) < EQUAL)

    def __str__(self):
        lines = [f"{name}: {value}" for name, value in self.numbers.items()]
        if self.alike:
            lines += ["", "features, of which none was found to matter more (lengthscale):"]
        elif self.features:
            lines += ["", "features by relevance (lengthscale):"]
        for row in self.features[:SHOWN]:
            bar = "#" * max(1, round(24 * row["relevance"]))
            mark = bar if row["relevance"] >= IRRELEVANT else "(irrelevant)"
            name = one_line(row["name"])
            lines.append(f"  {name:24.24s} {row['lengthscale']:10.3g}  {mark}")
        if len(self.features) > SHOWN:
            lines.append(f"  … and {len(self.features) - SHOWN} more")
        if self.samples:
            lines += ["", "samples by influence (relative to the mean):"]
            lines += [f"  {row['index']:>8d} {row['influence']:8.2f}" for row in self.samples]
        return "\n".join(lines)

    def html_parts(self):
        """The numbers, and a bar for the relevance of each feature; see kbo.html.Shown."""
        bars_of = {
            row["name"]: (row["relevance"], f"lengthscale {row['lengthscale']:.3g}")
            for row in self.features[:SHOWN]
        }
        return facts(self.numbers) + bars(bars_of)


def _unit_of_loss(estimator):
    """What the outer loss is, in words; None for one of the user's."""
    if estimator.outer_loss is not None:
        return None
    return "log-loss" if is_classifier(estimator) else UNITS.get(estimator.loss)


def report(estimator, names=None, top=5) -> Report:
    """Which features and samples matter to a fitted estimator.

    Parameters
    ----------
    estimator : fitted KernelBilevelRegressor or KernelBilevelClassifier
    names : sequence of str, optional
        Names of the features.
    top : int
        How many samples to report.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from kbo import KernelBilevelRegressor, inspection
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = KernelBilevelRegressor(kernel="gaussian").fit(X[:150], y[:150])
    >>> found = inspection.report(model, load_diabetes().feature_names)
    >>> "bmi" in str(found)
    True
    """
    numbers = {"solver": estimator.solver_}
    errors = getattr(estimator, "standard_errors_", {})
    if hasattr(estimator, "criterion_"):
        numbers["criterion"] = _with_error(estimator.criterion_, errors.get("criterion"))
    log_error = errors.get("alpha")
    numbers["alpha"] = _with_factor(estimator.alpha_, log_error)
    for attribute, name in MORE.items():
        value = getattr(estimator, attribute, None)
        if value is not None:
            unit = _unit_of_loss(estimator) if attribute == "cv_loss_" else None
            shown = f"{name} ({unit})" if unit else name
            numbers[shown] = value if isinstance(value, str) else _with_factor(value, None)
    return Report(_features(estimator, names), _samples(estimator, top), numbers)


def _with_error(value, error):
    return f"{value:.5g}" if error is None else f"{value:.5g} ± {error:.2g}"


def _with_factor(value, log_error):
    shown = lambda v: " ".join(f"{number:.3g}" for number in np.ravel(v))  # noqa: E731
    if log_error is None:
        return shown(value)
    return f"{shown(value)}, within a factor of {shown(np.exp(log_error))}"


def _features(estimator, names):
    try:
        strength = relative_relevance(estimator)
    except ValueError:
        return []
    names = feature_names(estimator, names)
    lengthscale = np.atleast_1d(estimator.lengthscale_)
    return [
        {"name": str(names[k]), "relevance": float(strength[k]),
         "lengthscale": float(lengthscale[k])}
        for k in np.argsort(-strength, kind="stable")
    ]


def _samples(estimator, top):
    try:
        size = influence(estimator)
    except ValueError:
        return []
    size = size / max(size.mean(), np.finfo(float).tiny)
    return [
        {"index": int(k), "influence": float(size[k])}
        for k in np.argsort(-size, kind="stable")[:top]
    ]
