"""Strength of instruments: how much of the treatment they explain beyond exogenous columns."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.linalg

from .._common.folds import Folds
from .data import RANK, in_span
from .first_stage import nystrom_features, principal_components
from .tuning import UNDERSMOOTHING

WEAK_R2 = 0.02  # a first stage that explains less of the variance out of sample is weak
FEW = 10  # values of the instruments below which they identify no shape
STRONG = 10.0  # Staiger and Stock's (1997) rule of thumb for the first-stage F
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


def _freedom(features, alpha, weight):
    """Effective degrees of freedom: the trace of the ridge smoother, without the constant."""
    centred = features - (weight / weight.sum()) @ features
    levels = np.linalg.eigvalsh(centred.T @ (weight[:, None] * centred))
    return float(np.sum(levels / (levels + alpha)))


def _best(candidates, targets, folds):
    """The error matrix of smallest trace among candidates (features, alphas).

    The second value returned is the effective degrees of freedom of that candidate.
    """
    tried = [
        (error, features, alpha) for features, alphas in candidates
        for alpha, error in zip(
            alphas, out_of_fold_errors(features, alphas, targets, folds), strict=True
        )
    ]
    error, features, alpha = min(tried, key=lambda found: np.trace(found[0]))
    return error, _freedom(features, alpha, folds.weight)


def _exogenous_candidates(family, tuner, exogenous):
    """Baselines without instruments: a constant, and kernel ridge on the exogenous columns."""
    out = [(np.zeros((len(tuner.X), 0)), (1.0,))]
    if exogenous.any():
        known, centers = tuner.X[:, exogenous], np.unique(tuner.centers[:, exogenous], axis=0)
        for shift in BASELINE_SHIFTS:
            kernel = family(lengthscale=np.array(np.sqrt(known.shape[1]) * np.exp(shift)))
            out.append((nystrom_features(kernel, centers, known), BASELINE_ALPHAS))
    return out


def first_stage_strength(found, tuner, exogenous):
    """R² = 1 − SSE(Z)/SSE(exogenous columns) out of fold, and the corresponding F ratio.

        F = (R²/k) / ((1 − R²)/(n − f))

    The first stage has f effective degrees of freedom, k of them beyond the exogenous columns.
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
    stage = [(features, (found.instrument_alpha / UNDERSMOOTHING,))]
    without = _exogenous_candidates(family, tuner, exogenous)

    # Only directions in the span of the centres count, as for h: columns may outnumber centres.
    axes = np.linalg.qr(tuner.centers[:, ~exogenous].T)[0]
    columns = principal_components(tuner.X[:, ~exogenous] @ axes, weight)
    spread = np.sqrt(weight @ columns**2 / weight.sum())
    apart = spread > RANK * spread.max()
    columns = columns[:, apart] / spread[apart]
    (explained, _), (baseline, _) = (_best(c, columns, folds) for c in (stage, without))
    baseline += RANK * np.trace(baseline) * np.eye(len(baseline))  # may be singular: few samples
    worst = columns @ scipy.linalg.eigh(explained, baseline)[1][:, -1]
    worst /= np.sqrt(weight @ worst**2 / weight.sum())

    ends = np.unique(np.quantile(worst, np.linspace(0, 1, QUANTILES)))[:, None]
    features = nystrom_features(family(lengthscale=np.array(1.0)), ends, worst[:, None])
    targets = principal_components(features, weight)
    (explained, spent), (baseline, freedom) = (_best(c, targets, folds) for c in (stage, without))
    strength = float(1.0 - np.trace(explained) / np.trace(baseline))
    extra, left = max(spent - freedom, 1.0), max(weight.sum() - spent, 1.0)
    return strength, strength / extra * left / max(1.0 - strength, np.finfo(float).tiny)


def warn_if_few_values(X, Z, exogenous, weight, stacklevel):
    """Give a WeakInstrumentWarning if Z says too little of h's shape, however strong it is.

    E[h(X) | Z] is as many numbers as the excluded instruments have values.
    """
    X, Z = X[weight > 0], Z[weight > 0]
    excluded = Z[:, ~in_span(Z, X[:, exogenous])]
    values, needed = (len(np.unique(part, axis=0)) for part in (excluded, X[:, ~exogenous]))
    if values < min(needed, FEW):
        warnings.warn(
            f"the instruments take {values} values and the endogenous columns {needed}: Z "
            f"identifies {values - 1} slope{'s' * (values > 2)}, the kernel's norm the rest of h's "
            "shape, and it leans towards a constant; for an effect that Z identifies fit "
            "kbo.TwoStageLeastSquares",
            WeakInstrumentWarning, stacklevel=stacklevel + 1,
        )


def warn_if_weak(statistic, stacklevel):
    """Give a WeakInstrumentWarning if the first stage's F is below 10."""
    if statistic < STRONG:
        warnings.warn(
            f"weak instruments: the first-stage F is {statistic:.1f}, below {STRONG:g}: the "
            "estimate may say little of the effect (two-stage least squares is biased towards the "
            "regression that ignores Z, a kernel estimator towards a constant), and its errors are "
            "understated; give stronger instruments or more samples",
            WeakInstrumentWarning, stacklevel=stacklevel + 1,
        )
