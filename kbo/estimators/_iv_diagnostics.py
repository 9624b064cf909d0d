"""How much of the treatment the instruments explain, beyond exogenous columns."""

from __future__ import annotations

import warnings

import numpy as np

from ..kernels import OnFeatures
from ._iv_strength import WeakInstrumentWarning

STRONG = 10.0  # Staiger and Stock's (1997) rule of thumb for the first-stage F
BASELINE_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def out_of_fold_errors(smoother, alpha, targets, folds):
    """Σ_f Σ_{test_f} ‖target − its prediction from train_f‖², as shares of the test weights.

    Ridge regression on the smoother's features, which span what the samples can say.
    """
    k = len(smoother.levels)
    features = smoother.rows[1:1+k].T*np.sqrt(smoother.levels+smoother.alpha)
    total = 0.0
    for train, test in zip(folds.train, folds.test, strict=True):
        share = train / train.sum()
        centre, mean = share @ features, share @ targets
        centred = features - centre
        weighted = (train[:, None] * centred).T
        slopes = np.linalg.solve(
            weighted @ centred + alpha * np.eye(features.shape[1]), weighted @ (targets - mean)
        )
        total += test @ np.sum((targets - mean - centred @ slopes) ** 2, 1)
    return total / len(folds.train)


def first_stage_strength(found, tuner, shared):
    """R² = 1 − SSE(Z)/SSE(exogenous columns) out of fold, and the F ratio it amounts to.

    of the features ψ_E at the lengthscales where tuning starts, which move with the data alone.

        F = (R²/k) / ((1 − R²)/(n − f)),  f = degrees of freedom of the first stage, k = those
        that it has beyond the exogenous columns

    Parameters
    ----------
    found : Stages
    tuner : Tuner
    shared : ndarray of int
        Columns of Z that X has too.
    """
    folds, smoother = tuner.folds, found.smoother
    start = tuner.kernel.at(tuner.kernel.start(), np.exp)
    targets = tuner.treatment_components(start.endogenous)
    explained = out_of_fold_errors(smoother, smoother.alpha, targets, folds)
    means = [
        test @ np.sum((targets - train @ targets / train.sum()) ** 2, 1)
        for train, test in zip(folds.train, folds.test, strict=True)
    ]
    baseline, freedom = float(np.mean(means)), 0.0
    if len(shared):
        part = OnFeatures(_restricted(found.instrument_kernel, shared), shared)
        known = tuner.smoother(part, min(BASELINE_ALPHAS), found.solver)
        for level in BASELINE_ALPHAS:
            error = out_of_fold_errors(known, level, targets, folds)
            if error < baseline:
                baseline, freedom = error, known.freedom(level)
    strength = 1.0 - explained / baseline if baseline > 0 else 0.0
    n, spent = folds.weight.sum(), smoother.freedom()
    extra = max(spent - freedom, 1.0)
    ratio = strength / extra * max(n - spent, 1.0) / max(1.0 - strength, np.finfo(float).tiny)
    return float(strength), float(ratio)


def _restricted(kernel, columns):
    """The kernel of some columns, with their lengthscales."""
    lengthscale = np.asarray(kernel.lengthscale)
    return type(kernel)(lengthscale=lengthscale[columns] if lengthscale.ndim else lengthscale)


def warn_if_weak(statistic, stacklevel):
    """WeakInstrumentWarning where the first stage's F is below 10."""
    if statistic < STRONG:
        warnings.warn(
            f"weak instruments: the first-stage F is {statistic:.1f}, below {STRONG:g}, so that "
            "the estimate is biased towards the one that ignores Z and its errors are "
            "understated; give stronger instruments or more samples",
            WeakInstrumentWarning, stacklevel=stacklevel + 1,
        )
