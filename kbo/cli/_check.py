"""Whether tuning gained anything: an honest comparison on rows that no part of it has seen.

The criterion that tuning lowers is a cross-validation, and many lengthscales can fit its folds
(Cawley and Talbot, 2010). Here the whole search is repeated without a fifth of the rows and judged
on that fifth, five times.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold

SPLITS = 5
SECONDS = 60.0  # what the comparison may take, unless it is asked for
TUNED, START = "tuned by kbo", "start"


def compare(candidates, X, y, seed) -> dict:
    """Mean error of each candidate, fitted on four fifths of the rows, on the fifth one.

    Parameters
    ----------
    candidates : dict of str to estimator
        Regressors, or classifiers.
    X : ndarray (n, d)
    y : ndarray (n,)
    seed : int
        Of the splits; they are others than those of the estimators' own folds.

    Returns
    -------
    dict of str to float
        By candidate: log-losses of classes; squared errors of numbers, or absolute ones where the
        model's loss is Huber's or the quantile one.
    """
    first = next(iter(candidates.values()))
    classes = is_classifier(first)
    most = np.unique(y, return_counts=True)[1].max() if classes else len(y)
    splitter = (StratifiedKFold if classes else KFold)(
        min(SPLITS, most), shuffle=True, random_state=seed + 1
    )
    errors = dict.fromkeys(candidates, 0.0)
    error = _log_loss if classes else _error_of(first)
    with warnings.catch_warnings():  # those of the models on all rows have been shown
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        for train, test in splitter.split(X, y):
            for name, model in candidates.items():
                fitted = clone(model).set_params(verbose=0).fit(X[train], y[train])
                errors[name] += float(error(fitted, X[test], y[test])) / len(y)
    return errors


def _log_loss(model, X, y):
    """Σ −log of the probability given to each row's class; a class not trained on has 1e-6."""
    place = {label: k for k, label in enumerate(model.classes_)}
    shares = model.predict_proba(X)
    given = [shares[row, place[label]] if label in place else 0.0 for row, label in enumerate(y)]
    return -np.log(np.maximum(given, 1e-6)).sum()


def _error_of(model):
    """The sum of errors of the kind that the model's loss is made for."""
    size = np.abs if model.loss in ("huber", "quantile") else np.square
    return lambda fitted, X, y: size(fitted.predict(X) - y).sum()
