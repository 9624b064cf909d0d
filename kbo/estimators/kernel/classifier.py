"""Kernel classification that tunes itself."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from ... import losses
from ...status import warn_explained
from .._common.table import fit_table
from .._common.validation import check_labels, check_weights, loss_by_name
from .fit import KernelBilevelBase

LOSSES = ("logistic", "squared")
SQUARED_SCALE = 2.0  # start value of the factor that calibrates least-squares scores


def likelihood_parts(loss, index, K, weight):
    """The inner loss, its targets, the likelihood's targets, and the best constant scores.

    Parameters
    ----------
    loss : {"logistic", "squared"}
    index : ndarray (n,) of int
        The class of each sample, 0…K−1.
    K : int
    weight : ndarray (n,)
    """
    present = np.bincount(index, weights=weight, minlength=K)
    prior = np.maximum(present, 1e-3 * weight.sum()) / weight.sum()
    signs = 2.0 * index - 1.0
    labels = signs if K == 2 else index
    if loss == "squared":
        codes = signs if K == 2 else 2.0 * np.eye(K)[index] - 1.0
        return losses.Squared(), codes, labels, np.asarray(np.average(codes, 0, weight))
    if K == 2:
        return losses.Logistic(), labels, labels, np.log(prior[1] / prior[0])
    return losses.Multinomial(), labels, labels, np.log(prior) - np.log(prior).mean()


class KernelBilevelClassifier(ClassifierMixin, KernelBilevelBase):
    """Kernel classification whose hyperparameters are tuned by hypergradient inside ``fit``.

    Like KernelBilevelRegressor, with scores h: one for two classes, K for K > 2.

    Parameters
    ----------
    kernel : str, list of str, kbo.kernels.Kernel or callable, default "matern32"
        As in KernelBilevelRegressor.
    alpha : float, default 0.1
        Start value of the ridge.
    tol : float, default 5e-3
        The search stops when each of two consecutive steps lowers the criterion by at most this
        fraction of its value at the start.
    ard : bool or array of int (d,), default True
        As in KernelBilevelRegressor.
    criterion : {"auto", "cv", "loo"}, default "auto"
        "cv" is the loss on stratified folds; "loo", with loss="squared", leaves out one sample at a
        time. "auto" is "cv" on at most 1000 samples for two classes, 1000/K^⅓ for K of them (but 3
        of each) and 2000 with loss="squared" (``n_tuned_``), if the solver is exact or "auto" and
        neither ``cv``, ``groups``, an outer loss, standard errors, learned centres nor ``max_time``
        are asked for; the final fit is on all. The minimum is then checked: the end of
        the search, or that of its first stage, which has a common factor for all lengthscales, is
        kept (``kept_``), by the lower L exp(q/n), L being the loss on other folds, q the count of
        tuned numbers, and n that of samples, times that of scores.
    prior : float, default 20.0
        As in KernelBilevelRegressor, the precision of log lengthscales around their level; with few
        samples, a lengthscale for each feature overfits the folds without it.
    lengthscale, groups, categorical_features, max_iter, max_time, n_restarts, solver, n_centers
        As in KernelBilevelRegressor.
    random_state, device, callback, checkpoint, error_score, standard_errors, verbose
        As in KernelBilevelRegressor.
    tune, cv
        As in KernelBilevelRegressor, except that folds are stratified, and that "scale" in ``tune``
        includes the scale of the scores.
    loss : {"logistic", "squared"}, default "logistic"
        The inner loss. "logistic" is the softmax likelihood for K > 2. "squared" regresses on ±1
        codes, with one factorisation per fold instead of a Newton iteration, and is much faster
        for many classes; its scores are calibrated by a tuned scale.
    outer_loss : None or callable
        ℓ_out(omega, scores, target), with target ±1 for two classes and 0…K−1 otherwise. None
        means the logistic (softmax) likelihood.

    Attributes
    ----------
    classes_ : ndarray (K,)
    kept_ : str
        With criterion="auto", which end was kept: "common lengthscale" or "own lengthscales".
    others
        As in KernelBilevelRegressor.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from kbo import KernelBilevelClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), KernelBilevelClassifier(loss="squared"))
    >>> bool(model.fit(X[::2], y[::2]).score(X, y) > 0.95)
    True
    """

    def __init__(
        self, kernel="matern32", *, loss="logistic", outer_loss=None, alpha=0.1,
        lengthscale=None, ard=True, groups=None, categorical_features="from_dtype",
        tune=None, cv=None, criterion="auto", prior=20.0, max_iter=100,
        tol=5e-3, max_time=None, n_restarts=0, solver="auto", n_centers=None, random_state=None,
        device=None, callback=None, checkpoint=None, error_score=np.nan, standard_errors=False,
        verbose=0,
    ):
        self.kernel = kernel
        self.loss = loss
        self.outer_loss = outer_loss
        self.alpha = alpha
        self.lengthscale = lengthscale
        self.ard = ard
        self.groups = groups
        self.categorical_features = categorical_features
        self.tune = tune
        self.cv = cv
        self.criterion = criterion
        self.prior = prior
        self.max_iter = max_iter
        self.tol = tol
        self.max_time = max_time
        self.n_restarts = n_restarts
        self.solver = solver
        self.n_centers = n_centers
        self.random_state = random_state
        self.device = device
        self.callback = callback
        self.checkpoint = checkpoint
        self.error_score = error_score
        self.standard_errors = standard_errors
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, groups=None):
        """Tune on stratified folds, then fit on all samples.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,)
            Labels of any kind, with at least two classes.
        sample_weight : array-like (n,), optional
        groups : array-like (n,), optional
            As in KernelBilevelRegressor; folds are also stratified.

        Returns
        -------
        self
        """
        self._check_parameters()
        if np.ndim(self.alpha):
            raise ValueError(f"alpha={self.alpha!r} must be one number")
        self._table, X, y, weight = fit_table(
            self, X, check_labels("y", y), self.categorical_features,
            partial(check_weights, sample_weight),
        )
        check_classification_targets(y)
        self.classes_ = np.unique(y[weight > 0])
        # Samples of weight zero may have unknown labels; any class will do for them.
        index = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        K = len(self.classes_)
        present = np.bincount(index, weights=weight, minlength=K)
        if (present > 0).sum() < 2:
            raise ValueError(
                "y has one class only (among samples of positive weight): the number of classes "
                "must be greater than one; got 1 class"
            )
        alone = self.classes_[np.bincount(index[weight > 0], minlength=K) == 1]
        if len(alone) and self.cv is None and self.tune != ():
            warn_explained(
                f"class {str(alone[0])!r} has one row only: a fold that leaves it out has no such "
                "class to learn, so that the folds say nothing of it",
                UserWarning, stacklevel=2,
            )
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r} must be one of {LOSSES}")
        inner, inner_target, labels, offset = likelihood_parts(self.loss, index, K, weight)
        likelihood = losses.Logistic() if K == 2 else losses.Multinomial()
        if self.loss == "squared":
            likelihood = losses.ScaledLoss(likelihood, scale=SQUARED_SCALE)
        outer = likelihood
        if self.outer_loss is not None:
            outer = loss_by_name(self.outer_loss, {}, "outer_loss")
        return self._fit(
            X, (inner_target, labels), offset, None if K == 2 else K, inner, outer, weight,
            labels=index, classifier=True, calibrate=self.outer_loss is None, groups=groups,
        )

    def decision_function(self, X):
        """Scores of rows X (k, d): (k,) for two classes, positive for the second; else (k, K)."""
        return self._scores(self._coordinates(X))

    def predict(self, X):
        """The class with the highest score, (k,), of rows X (k, d)."""
        scores = self.decision_function(X)
        chosen = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        return self.classes_[chosen]

    def predict_proba(self, X):
        """Probabilities (k, K) of rows X (k, d): logistic or softmax of the (scaled) scores."""
        scores = self.decision_function(X) * self.outer_parameters_.get("scale", 1.0)
        if scores.ndim == 1:
            return np.stack([expit(-scores), expit(scores)], axis=1)
        return softmax(scores, axis=1)
