"""Checks whether tuning made a model worse, on rows that no part of the tuning has seen.

Tuning lowers a cross-validated loss, whose folds many lengthscales can overfit (Cawley and Talbot,
2010). This check is a nested cross-validation: the whole search is repeated without a fifth of the
rows and judged on that fifth, for each fifth, and again for other divisions while time allows.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning

from ._models import core

REPEATS = 3
SECONDS = 30.0  # time limit of the check, unless the user asks for it
ROBUST = "huber", "quantile"


def errors_left_out(candidates, X, y, seed, rows, seconds=SECONDS) -> dict:
    """The mean error of each candidate on rows that were left out of its fit.

    Parameters
    ----------
    candidates : dict of str to estimator
        Regressors, or classifiers.
    X : ndarray (n, d)
    y : ndarray (n,)
    seed : int
        Seed of the divisions, which differ from the estimators' own folds.
    rows : Independent, InGroups or InTime
        How the rows may be divided.
    seconds : float
        A second and a third division are begun only if they are expected to end by then.

    Returns
    -------
    dict of str to float, or None
        For each candidate, the mean over rows and divisions of ``errors_of``; None where no
        division leaves enough rows to tune on.
    """
    classes = is_classifier(next(iter(candidates.values())))
    total, count, started = dict.fromkeys(candidates, 0.0), 0, time.perf_counter()
    for repeat in range(1, REPEATS + 1 if rows.repeats else 2):
        with warnings.catch_warnings():  # the fits to all rows have shown theirs already
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", UserWarning)
            for train, test in rows.usable(y, seed + repeat, classes):
                count += len(test)
                for name, model in candidates.items():
                    fitted = _silent(clone(model))
                    fitted.fit(X[train], y[train], **rows.part(train).options)
                    total[name] += float(errors_of(fitted, X[test], y[test]).sum())
        if (time.perf_counter() - started) * (repeat + 1) / repeat > seconds:
            break
    return {name: errors / count for name, errors in total.items()} if count else None


def _silent(model):
    """The model without progress bars."""
    options = [name for name in model.get_params() if name.rpartition("__")[2] == "verbose"]
    return model.set_params(**dict.fromkeys(options, 0))


def kind_of_error(model):
    """What ``errors_of`` means over rows, in words."""
    if is_classifier(model):
        return "log-loss"
    return "absolute" if core(model).loss in ROBUST else "MSE"


def errors_of(model, X, y):
    """The error of each row: for classes the log-loss; for numbers the squared error, or the
    absolute error if the model's loss is "huber" or "quantile".
    """
    if is_classifier(model):
        return _log_loss(model, X, y)
    size = np.abs if core(model).loss in ROBUST else np.square
    return size(model.predict(X) - y)


def _log_loss(model, X, y):
    """−log of the probability predicted for each row's class, which is at least 1e-6.

    Classes that are not among the training rows have this probability too.
    """
    place = {label: k for k, label in enumerate(model.classes_)}
    shares = model.predict_proba(X)
    given = [shares[row, place[label]] if label in place else 0.0 for row, label in enumerate(y)]
    return -np.log(np.maximum(given, 1e-6))

