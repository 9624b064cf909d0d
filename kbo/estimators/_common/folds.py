"""Cross-validation splits as weights of the replicates of one problem, ordered and padded."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)

from .validation import check_groups

BUCKETS = (64, 256, 512, 768, 1024)
BUCKET_STEP = 512


def bucket(n: int) -> int:
    """The size to which n samples are padded; few different sizes mean few compilations."""
    for size in BUCKETS:
        if n <= size:
            return size
    return -(-n // BUCKET_STEP) * BUCKET_STEP


def pad(array, size):
    """The rows of ``array`` followed by copies of its first row, ``size`` rows in all."""
    extra = size - len(array)
    return np.concatenate([array, np.repeat(array[:1], extra, axis=0)]) if extra else array


class Folds(NamedTuple):
    """Cross-validation as one problem with F replicates.

    Attributes
    ----------
    order : ndarray (n,)
        Indices that sort the samples by the fold that tests them, so that test sets are contiguous.
    train, test : ndarray (F, n)
        Weights in that order. Each row of ``test`` sums to one, so that the outer value is the
        mean over folds of the weighted mean loss, as ``cross_val_score`` computes it (except that
        all folds share the offset).
    weight : ndarray (n,)
        Sample weights in that order.
    """

    order: np.ndarray
    train: np.ndarray
    test: np.ndarray
    weight: np.ndarray


def make_folds(cv, X, y, sample_weight, classifier, random_state=None, groups=None) -> Folds:
    """Read ``cv`` as scikit-learn does; None means five folds (fewer for fewer samples or groups).

    If ``cv`` is None or a number, ``groups`` (n,) keeps the samples of a group in one fold.

    Raises
    ------
    ValueError
        If a split has no training or test sample of positive weight, or if ``groups`` has the wrong
        shape or is needed by the splitter and missing.
    """
    n = len(X)
    groups = check_groups(groups, X)
    if groups is not None and len(np.unique(groups[sample_weight > 0])) < 2:
        raise ValueError("groups has one group only: there is none to hold out")
    if n < 2:
        raise ValueError(
            f"n_samples={n} cannot be split for cross-validation: give more samples, or tune=() "
            "to fit without tuning"
        )
    chosen = cv is None
    if chosen:
        used = sample_weight > 0
        cv = min(5, int(used.sum()))
        if classifier:
            smallest = np.unique(y[used], return_counts=True)[1].min()
            cv = max(2, min(cv, int(smallest)))
        if groups is not None:
            cv = max(2, min(cv, len(np.unique(groups[used]))))
    with warnings.catch_warnings():
        if chosen:  # the estimators have told of such a class, by its name
            warnings.filterwarnings("ignore", "The least populated class in y")
        splits = _splits(cv, X, y, sample_weight, classifier, random_state, groups)
    if not splits:
        raise ValueError(
            "cv yields no splits: give a list in place of a generator, which works for one fit only"
        )
    train, test = np.zeros((len(splits), n)), np.zeros((len(splits), n))
    for f, (train_rows, test_rows) in enumerate(splits):
        np.add.at(train[f], train_rows, sample_weight[train_rows])
        np.add.at(test[f], test_rows, sample_weight[test_rows])
    for name, weights in (("train", train), ("test", test)):
        empty = np.flatnonzero(weights.sum(1) == 0)
        if len(empty):
            raise ValueError(f"cv split {empty[0]} has no {name} sample with positive weight")
    order = np.argsort(test.astype(bool).argmax(0), kind="stable")
    test = test / test.sum(1, keepdims=True)
    return Folds(order, train[:, order], test[:, order], sample_weight[order])


def _splits(cv, X, y, sample_weight, classifier, random_state, groups):
    """Pairs (train, test) of index arrays; an integer ``cv`` divides samples of positive weight."""
    used = np.arange(len(X))
    if isinstance(cv, Integral):
        used = np.flatnonzero(sample_weight > 0)
        drawn = {} if random_state is None else {"shuffle": True, "random_state": random_state}
        kinds = (KFold, StratifiedKFold, GroupKFold, StratifiedGroupKFold)
        if groups is not None or drawn:
            cv = kinds[2 * (groups is not None) + classifier](cv, **drawn)
    rows = None if groups is None else groups[used]
    try:
        parts = list(check_cv(cv, y[used], classifier=classifier).split(X[used], y[used], rows))
    except (ValueError, TypeError) as error:
        if groups is None and "groups" in str(error):
            needed = f"cv={cv!r} splits by groups: give them to fit, fit(X, y, groups=...)"
            raise ValueError(needed) from error
        raise
    return [(used[train], used[test]) for train, test in parts]
