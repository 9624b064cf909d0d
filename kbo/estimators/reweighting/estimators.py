"""Estimators that learn which training samples to trust."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._common.validation import check_weights
from ..kernel.classifier import KernelBilevelClassifier
from ..kernel.regressor import KernelBilevelRegressor
from .fit import SampleReweighting, final_has


class SampleReweightingClassifier(ClassifierMixin, SampleReweighting):
    """Classification that learns a weight for each sample from a few trusted samples::

        inner  h_ω = argmin_h Σ_{i doubtful} σ(ω_i) w_i ½‖h(x_i) − c(y_i)‖² + (alpha/2) ‖h‖²
        outer  L(ω) = mean of ½‖h_ω(x_j) − c(y_j)‖² over the trusted samples j
               + penalty · mean of ω_i²

    Samples that are not trusted are called doubtful; c codes classes as ±1, centred. The weights
    σ(ω) ∈ (0, 1) are found by hypergradient. Then ``estimator`` is fitted to all samples with
    these weights, trusted samples having weight one.

    Parameters
    ----------
    estimator : classifier, default KernelBilevelClassifier(loss="squared", ard=False)
        The final classifier; its ``fit`` must take sample_weight.
    kernel, lengthscale : as in KernelBilevelClassifier
        Those of h. With lengthscale=None it is √d/2 spreads of each of the d features.
    alpha : float or None
        The ridge of h. None means 0.01 Σ w_i over the doubtful samples: h is then so smooth that
        its neighbours outvote a wrong label. With a small ridge h follows every label, and the
        weights fit the trusted samples instead of telling right labels from wrong.
    penalty : float, default 0.01
        Keeps the weights away from 0 and 1. Without it they all end there, and atypical samples
        are rejected along with wrong ones.
    trusted_fraction : float, default 0.1
        The fraction of samples drawn as trusted if ``fit`` is not told which ones are.
    max_iter : int, default 50
    tol : float, default 1e-4
        Stop when each of two consecutive steps lowers L by at most this fraction of its value at
        the start.
    solver, n_centers, random_state, device, verbose
        As in KernelBilevelClassifier.
    callback : callable or None
        Called with a dict (value, grad_norm, seconds) at each step; a true return value stops the
        search.

    Attributes
    ----------
    sample_weight_ : ndarray (n,)
        σ(ω) for doubtful samples, one for the others.
    trusted_ : ndarray (n,) of bool
    estimator_ : classifier
        The fitted final classifier.
    classes_ : ndarray (K,)
    criterion_, criterion_start_ : float
        L at the end and at the start (where all weights are a half).
    n_iter_, history_ : int, list of dict

    References
    ----------
    Ren, Zeng, Yang, Urtasun (2018), Learning to Reweight Examples for Robust Deep Learning.
    Mehra, Hamm (2019), Penalty Method for Inversion-Free Deep Bilevel Optimization, Section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from kbo import SampleReweightingClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> wrong = np.arange(len(y)) % 4 == 0
    >>> model = SampleReweightingClassifier(random_state=0)
    >>> y[wrong] = (y[wrong] + 1) % 3
    >>> trusted = np.arange(len(y)) % 8 == 1
    >>> model = model.fit(scale(X), y, trusted=trusted)
    >>> weight = model.sample_weight_
    >>> bool(weight[wrong].mean() < 0.5 * weight[~wrong].mean())
    True
    """

    def _final(self):
        if self.estimator is not None:
            return self.estimator
        return KernelBilevelClassifier(loss="squared", ard=False, random_state=self.random_state)

    def fit(self, X, y, sample_weight=None, trusted=None):
        """Learn the weights, then fit the final estimator with them.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,)
        sample_weight : array-like (n,), optional
        trusted : array-like (n,) of bool, optional
            The samples whose labels are known to be right. None draws a fraction
            ``trusted_fraction`` of all samples, for data of which no part is known to be better.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If all samples are trusted or none is, or if there is only one class.
        """
        self._check()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = check_weights(sample_weight, X)
        self.classes_ = np.unique(y[weight > 0])
        if len(self.classes_) < 2:
            raise ValueError("y has one class only: the number of classes must be at least two")
        index = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        K = len(self.classes_)
        codes = 2.0 * index - 1.0 if K == 2 else 2.0 * np.eye(K)[index] - 1.0
        codes = codes - np.average(codes, 0, weight)
        return self._fit_weighted(X, y, codes, weight, trusted, index)

    @available_if(final_has("predict_proba"))
    def predict_proba(self, X):
        """The final classifier's class probabilities, (k, K), of rows X (k, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self.estimator_.predict_proba(X)

    @available_if(final_has("decision_function"))
    def decision_function(self, X):
        """The final classifier's scores of rows X (k, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self.estimator_.decision_function(X)


class SampleReweightingRegressor(MultiOutputMixin, RegressorMixin, SampleReweighting):
    """Regression that learns a weight for each sample from a few trusted samples::

        inner  h_ω = argmin_h Σ_{i doubtful} σ(ω_i) w_i ½(h(x_i) − y_i)² + (alpha/2) ‖h‖²
        outer  L(ω) = mean of ½(h_ω(x_j) − y_j)² over the trusted samples j
               + penalty · mean of ω_i²

    Here y is standardised by its mean and spread over the trusted samples (over all samples if
    they are drawn). The method finds wrong targets whose errors have the same sign among
    neighbours (a changed unit, a drifting sensor). Errors of either sign cancel in h, so that L
    says little about each; use a robust loss for those.

    Parameters
    ----------
    estimator : regressor, default KernelBilevelRegressor(ard=False)
    kernel, lengthscale, alpha, penalty, trusted_fraction, max_iter, tol, solver, n_centers
        As in SampleReweightingClassifier.
    random_state, device, callback, verbose
        As in SampleReweightingClassifier.

    Attributes
    ----------
    sample_weight_, trusted_, estimator_, criterion_, criterion_start_, n_iter_, history_
        As in SampleReweightingClassifier.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from kbo import SampleReweightingRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> wrong = np.arange(len(y)) % 4 == 0
    >>> y[wrong] = 346 - y[wrong]
    >>> model = SampleReweightingRegressor().fit(X, y, trusted=np.arange(len(y)) % 4 == 1)
    >>> weight = model.sample_weight_
    >>> bool(weight[wrong].mean() < weight[~wrong].mean())
    True
    """

    def _final(self):
        if self.estimator is not None:
            return self.estimator
        return KernelBilevelRegressor(ard=False, random_state=self.random_state)

    def fit(self, X, y, sample_weight=None, trusted=None):
        """Learn the weights, then fit the final estimator with them.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, p)
        sample_weight : array-like (n,), optional
        trusted : array-like (n,) of bool, optional
            As in SampleReweightingClassifier.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If all samples are trusted, or none is.
        """
        self._check()
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        y = y.astype(np.float64)
        weight = check_weights(sample_weight, X)
        known = y[np.asarray(trusted, bool)] if np.shape(trusted) == (len(y),) else y
        known = known if len(known) else y
        spread = np.sqrt(np.sum(np.var(known, axis=0))) or 1.0
        return self._fit_weighted(X, y, (y - known.mean(0)) / spread, weight, trusted, None)
