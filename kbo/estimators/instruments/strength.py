"""Strength of instruments: how much of the treatment they explain beyond exogenous columns."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from ...status import warn_explained
from .._common.folds import Folds
from .data import RANK, in_span
from .first_stage import nystrom_features, principal_components
from .tuning import UNDERSMOOTHING

WEAK_R2 = 0.02  # a first stage that explains less of the variance out of sample is weak
FEW = 10  # values of the instruments below which they identify no shape
STRONG = 10.0  # Staiger and Stock's (1997) rule of thumb for the first-stage F
WEAK = {
    "linear": (
        "the estimator is biased towards the regression that ignores Z, one estimate may be far "
        "from both, and standard errors cannot be trusted"
    ),
    "kernel": (
        "Z hardly identifies h, whose size and shape are then decided by the penalty on its norm "
        "and by the exogenous columns"
    ),
}
BASELINE_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
BASELINE_SHIFTS = (-0.7, 0.0, 0.7)  # added to the log lengthscale
QUANTILES = 64  # the centres for the features of a combination of columns


class WeakInstrumentWarning(UserWarning):
    """The instruments explain too little of the treatment for the estimate to be trusted."""


def out_of_fold_errors(features, alphas, targets, folds: Folds):
    """mean_f Σ_{test_f} e eᵀ, (p, p) for each alpha; e are the errors of a ridge fit on train_f.

    Parameters
    ----------
    features : ndarray (n, M)
    alphas : sequence of float
    targets : ndarray (n, p)
    """
    totals = [0.0] * len(alphas)
    for train, test in zip(folds.train, folds.test, strict=True):
        share = train / train.sum()
        centred, errors = features - share @ features, targets - share @ targets
        weighted = (train[:, None] * centred).T
        gram, moments = weighted @ centred, weighted @ errors
        for k, alpha in enumerate(alphas):
            missed = errors - centred @ np.linalg.solve(gram + alpha * np.eye(len(gram)), moments)
            totals[k] += missed.T @ (test[:, None] * missed)
    return [total / len(folds.train) for total in totals]


def _best(candidates, targets, folds):
    """The error matrix of smallest trace among candidates (features, alphas)."""
    errors = [
        error for features, alphas in candidates
        for error in out_of_fold_errors(features, alphas, targets, folds)
    ]
    return min(errors, key=np.trace)


def _exogenous_candidates(found, tuner, exogenous, alpha):
    """Baselines without instruments: a constant, and kernel ridge on the exogenous columns.

    One of them is the first stage itself, with its own lengthscales, in which the instruments do
    not vary: what is credited to them is then nothing that a better kernel finds in the others.
    """
    out = [(np.zeros((len(tuner.X), 0)), (1.0,))]
    kernel, family = found.instrument_kernel, type(found.instrument_kernel)
    if exogenous.any():
        known, centers = tuner.X[:, exogenous], np.unique(tuner.centers[:, exogenous], axis=0)
        for shift in BASELINE_SHIFTS:
            isotropic = family(lengthscale=np.array(np.sqrt(known.shape[1]) * np.exp(shift)))
            out.append((nystrom_features(isotropic, centers, known), BASELINE_ALPHAS))
        moving = in_span(tuner.Z, known)
        centers = np.unique(tuner.instrument_centers(found.solver) * moving, axis=0)
        features = nystrom_features(kernel, centers, tuner.Z * moving)
        out.append((features, (alpha, *BASELINE_ALPHAS)))
    return out


def first_stage_strength(found, tuner, exogenous):
    """R² = 1 − SSE(Z)/SSE(exogenous columns) out of fold, and the corresponding F ratio.

        F = R²/(1 − R²) · n/q        for q excluded instruments

    For one linear instrument this is close to the F of the regression, but lower by about 2 because
    it is computed out of fold. R² needs no degrees of freedom, since no fit has seen its rows.

    Both statistics are of the kernel features of one combination of the endogenous columns, the
    one that Z explains least: h is identified in a direction only as far as Z moves the treatment
    in that direction.

    Parameters
    ----------
    found : Stages
    tuner : Tuner
    exogenous : ndarray (d,) of bool
    """
    folds, weight, family = tuner.folds, tuner.folds.weight, type(found.instrument_kernel)
    features = tuner.instrument_features(found.instrument_kernel, found.solver)
    # Strength is judged at the ridge that predicts best, before undersmoothing.
    alpha = found.instrument_alpha / UNDERSMOOTHING
    stage = [(features, (alpha,))]
    without = _exogenous_candidates(found, tuner, exogenous, alpha)

    # Only directions in the span of the centres count, as for h: columns may outnumber centres.
    axes = np.linalg.qr(tuner.centers[:, ~exogenous].T)[0]
    columns = principal_components(tuner.X[:, ~exogenous] @ axes, weight)
    spread = np.sqrt(weight @ columns**2 / weight.sum())
    apart = spread > RANK * spread.max()
    columns = columns[:, apart] / spread[apart]
    explained, baseline = (_best(c, columns, folds) for c in (stage, without))
    baseline += RANK * np.trace(baseline) * np.eye(len(baseline))  # may be singular: few samples
    worst = columns @ scipy.linalg.eigh(explained, baseline)[1][:, -1]
    worst /= np.sqrt(weight @ worst**2 / weight.sum())

    ends = np.unique(np.quantile(worst, np.linspace(0, 1, QUANTILES)))[:, None]
    features = nystrom_features(family(lengthscale=np.array(1.0)), ends, worst[:, None])
    targets = principal_components(features, weight)
    explained, baseline = (_best(c, targets, folds) for c in (stage, without))
    strength = float(1.0 - np.trace(explained) / np.trace(baseline))
    excluded = max(1, np.sum(~in_span(tuner.Z, tuner.X[:, exogenous])))
    ratio = strength / max(1.0 - strength, np.finfo(float).tiny) * weight.sum() / excluded
    return strength, max(float(ratio), 0.0)


def warn_if_few_values(X, Z, exogenous, weight, stacklevel):
    """Give a WeakInstrumentWarning if Z has too few values to determine h's shape.

    E[h(X) | Z] takes only as many values as the excluded instruments, however strong they are.
    """
    X, Z = X[weight > 0], Z[weight > 0]
    excluded = Z[:, ~in_span(Z, X[:, exogenous])]
    values, needed = (len(np.unique(part, axis=0)) for part in (excluded, X[:, ~exogenous]))
    if values < min(needed, FEW):
        warn_explained(
            f"the instruments take {values} different values, and the endogenous columns {needed}: "
            f"for given exogenous columns Z identifies {values - 1} slope{'s' * (values > 2)}, and "
            "the penalty on h's norm decides the rest of its shape; to estimate only the effect "
            "that Z identifies, fit kbo.TwoStageLeastSquares",
            WeakInstrumentWarning, stacklevel=stacklevel + 1,
        )


def warn_if_weak(estimator, kind, stacklevel):
    """Give a WeakInstrumentWarning for a kind of estimator if the first stage's F is below 10."""
    statistic, endogenous = estimator.first_stage_statistic_, estimator.endogenous_
    names = np.array(getattr(estimator, "feature_names_in_", np.arange(len(endogenous))))
    if endogenous.sum() == 1:
        own = "" if kind == "linear" else " of kbo.TwoStageLeastSquares"
        remedy = f"report the confidence set anderson_rubin(){own}, or give stronger instruments"
    else:
        remedy = (
            f"the columns {names[endogenous].tolist()} of X are taken as endogenous, since Z does "
            "not repeat them: if some of them are exogenous, repeat these in Z; otherwise give "
            "stronger instruments"
        )
    if statistic < STRONG:
        warn_explained(
            f"weak instruments: the first-stage F is {statistic:.1f}, below {STRONG:g}: "
            f"{WEAK[kind]}; {remedy}",
            WeakInstrumentWarning, stacklevel=stacklevel + 1,
        )
