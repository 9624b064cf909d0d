"""Gradient-based hyperparameter search with the interface of GridSearchCV."""

from __future__ import annotations

import time
from numbers import Integral, Real
from types import SimpleNamespace

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import check_random_state, indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _num_samples

from ...result import BilevelError
from ...search.uncertainty import standard_errors
from ...status import warn_explained
from .._common.bounds import warn_of_bounds
from .._common.shown import ShownFit
from .._common.validation import check_weights, computing
from .layers import weight_of
from .problem import search_problem
from .scoring import check_scoring_suits
from .trace import COLUMNS, Trace

AT_BOUND = "widen that range in param_space, unless the end is meant"


class HypergradientSearchCV(ShownFit, BaseSearchCV):
    """Search an estimator's continuous parameters by the gradient of its cross-validated loss::

        L(θ) = mean_f mean_{j∈test_f} ℓ_out(h_{θ,f}(x_j), y_j),   minimised over θ by L-BFGS

    A replacement for GridSearchCV. Each iterate of the search is fitted and scored like a point of
    a grid, with ``scoring`` and on the same splits, and the best one is refitted. Supported are
    scikit-learn's KernelRidge (alpha, gamma, coef0), Ridge (alpha), LogisticRegression (C, l2
    penalty), SVC for two classes and SVR (C, epsilon, gamma, coef0; losses smoothed),
    GaussianProcessRegressor with ``optimizer=None`` (alpha, kernel hyperparameters), kbo's
    estimators with ``tune=()`` (alpha, lengthscale), and subclasses that fit and predict like them.
    The estimator may be the last step of a Pipeline, or inside a TransformedTargetRegressor: the
    other steps are fitted to each training set anew, and L is always in the units of y. The
    inverse of a target transformation must be affine (StandardScaler, MinMaxScaler, RobustScaler),
    or an ``inverse_func`` that is a one-argument NumPy ufunc or written with jax.numpy.

    If a parameter hardly moves in the search, or all predictions end up constant, the gradient is
    not informative. L is then evaluated at sixteen other points of the space, and a second search
    starts from the lowest of them if it is more promising than where the first one ended.

    For a Gaussian process, L depends on the mean alone, and the mean on the ratios of the variances
    alone. In every row but the first, their common scale is therefore set such that the squared
    errors on the held-out samples, divided by their predicted variances, have mean one (Bachoc
    2013); this minimises the predictive log loss over the scale.

    Parameters
    ----------
    estimator : estimator
    param_space : dict of str to list, pair (low, high) or scipy.stats distribution
        The range of each parameter; a list means its range, from least to greatest. Ranges must be
        positive and are searched in logs. Exceptions are coef0, which may be any number, and
        epsilon, which may be zero; if their range is not positive it is searched on a linear scale.
        The search starts from the estimator's own values, clipped to the ranges.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in GridSearchCV; ``verbose=1`` also shows the progress of the search.
    outer_loss : None, {"squared", "huber", "logistic", "multinomial"}, Loss or callable
        ℓ_out(omega, prediction, target). None means the squared loss for regression, and for
        classification the logistic (softmax) likelihood of the scores, with target ±1 for two
        classes and 0…K−1 for more.
    max_iter : int, default 50
        Maximal number of accepted steps of each search.
    tol : float, default 1e-4
        A search stops when each of two consecutive steps lowers the criterion by at most this
        fraction.
    n_restarts : int, default 0
        Number of further searches, from points drawn from the whole space (by ``random_state``).
    max_time : float or None
        Seconds after which L is not evaluated any more. The first evaluation is always made, and
        the iterates found so far are then fitted and scored.
    random_state : None, int or RandomState
    callback : callable or None
        Called at the start and after each step with a dict (restart, outer_iter, outer_loss,
        grad_norm, inner_residual, seconds, params); a true return value stops all searches.
    standard_errors : bool, default False
        Whether to compute ``standard_errors_``, at the cost of one hypergradient for each fold and
        two for each number searched.

    Attributes
    ----------
    cv_results_ : dict
        As GridSearchCV's, with a row for each iterate, the start first. Further columns are
        outer_iter, restart (the number of the search; 0 starts from the estimator's own values),
        outer_loss, grad_norm and inner_residual.
    best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_,
    multimetric_, classes_, n_features_in_, feature_names_in_
        As GridSearchCV's.
    ranges_ : dict of str to Dimension
        The range searched for each parameter: low, high, and whether it was searched in logs.
    n_iter_, n_evaluations_ : int
        Number of steps of the search with the lowest end, and of evaluations in all searches.
    standard_errors_ : dict
        Standard errors of the outer loss over the folds ("outer_loss"), and of each parameter (of
        its logarithm, if searched in logs) at the lowest end. See kbo.standard_errors.
    search_time_ : float
        Seconds spent in the searches, without the fits for ``cv_results_``.

    References
    ----------
    Bachoc (2013), Cross validation and maximum likelihood estimations of hyper-parameters of
    Gaussian processes with model misspecification.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.kernel_ridge import KernelRidge
    >>> from kbo import HypergradientSearchCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> space = {"alpha": (1e-4, 1e2), "gamma": (1e-3, 1e3)}
    >>> search = HypergradientSearchCV(KernelRidge(kernel="rbf"), space).fit(X, y - y.mean())
    >>> bool(search.best_score_ > 0.45)
    True
    """

    _parameter_constraints: dict = {  # noqa: RUF012
        **BaseSearchCV._parameter_constraints,
        "param_space": [dict],
        "outer_loss": [None, str, callable],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_restarts": [Interval(Integral, 0, None, closed="left")],
        "max_time": [None, Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
        "callback": [None, callable],
        "standard_errors": ["boolean"],
    }

    def __init__(
        self, estimator, param_space, *, scoring=None, n_jobs=None, refit=True, cv=None,
        verbose=0, pre_dispatch="2*n_jobs", error_score=np.nan, return_train_score=False,
        outer_loss=None, max_iter=50, tol=1e-4, n_restarts=0, max_time=None, random_state=None,
        callback=None, standard_errors=False,
    ):
        super().__init__(
            estimator=estimator, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv,
            verbose=verbose, pre_dispatch=pre_dispatch, error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_space = param_space
        self.outer_loss = outer_loss
        self.max_iter = max_iter
        self.tol = tol
        self.n_restarts = n_restarts
        self.max_time = max_time
        self.random_state = random_state
        self.callback = callback
        self.standard_errors = standard_errors

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    def fit(self, X, y=None, **params):
        """Search, score every iterate, and refit the best one.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, p)
        **params : dict
            Passed to the estimator's fit, the scorer and the splitter as by GridSearchCV.
            ``sample_weight`` also enters the criterion of the search.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For an estimator, parameter or range that cannot be searched by gradient, and for a
            ``scoring`` that compares classes on a regressor or numbers on a classifier.

        Warns
        -----
        ConvergenceWarning
            If the criterion is flat, the search did not reach its tolerance or ran out of time,
            the best value of a parameter is at an end of its range, or a Gaussian process's
            standard deviations do not match the errors on the held-out samples.
        """
        check_scoring_suits(self.scoring, is_classifier(self.estimator))
        self._running = running = SimpleNamespace(data=(X, y, params), messages=[])
        self.__dict__.pop("standard_errors_", None)  # left by an earlier fit
        try:
            super().fit(X, y, **params)
        finally:
            del self._running
        # Several metrics without ``refit`` define no best candidate: take the lowest outer loss.
        lowest = int(np.argmin(self.cv_results_["outer_loss"]))
        best = getattr(self, "best_params_", self.cv_results_["params"][lowest])
        for message in (*running.messages, *running.search.complaints(best)):
            warn_explained(message, ConvergenceWarning, stacklevel=2)
        warn_of_bounds(running.search.bound_texts(best), AT_BOUND, stacklevel=2)
        return self

    def _run_search(self, evaluate_candidates, callback_ctx=None):
        X, y, params = self._running.data
        started = time.perf_counter()
        with computing(None):
            search, splits = self._problem(X, y, params)
            self._running.search = search
            self.ranges_ = {search.prefix + d.name: d for d in search.dimensions}
            rows = self._trace(search)
        self.search_time_ = time.perf_counter() - started
        more = {name: [row[name] for row in rows] for name in COLUMNS}
        candidates = [row["params"] for row in rows]
        evaluate = lambda **context: evaluate_candidates(  # noqa: E731
            candidates, cv=check_cv(splits), more_results=more, **context
        )
        if callback_ctx is None:  # scikit-learn before 1.9, or 1.9 without callbacks
            evaluate()
            return
        scoring = callback_ctx.subcontext(
            task_name="search", max_subtasks=len(rows) * len(splits), sequential_subtasks=False
        ).call_on_fit_task_begin(estimator=self)
        evaluate(callback_ctx=scoring)
        scoring.call_on_fit_task_end(estimator=self)

    def outer_loss_at(self, X, y, candidates, **params):
        """The outer loss at each of the given parameters, (k,); infinite where the fit fails.

        Parameters
        ----------
        X, y
            As in ``fit``, which need not have been called before.
        candidates : list of dict
            Values of all parameters in ``param_space``.
        **params
            As in ``fit``.
        """
        with computing(None):
            search, _ = self._problem(X, y, params)
            return search.outer_losses(candidates)

    def _problem(self, X, y, params):
        """The SearchProblem for these data, and the list of its splits."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        if hasattr(y, "toarray") or hasattr(X, "toarray"):
            raise TypeError("sparse X or y is not supported: give dense arrays (X.toarray())")
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(params)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, **routed.splitter.split))
        weight = check_weights(
            weight_of(self.estimator, routed.estimator.fit), np.empty((_num_samples(X), 1))
        )
        search = search_problem(
            self.estimator, self.param_space, X, np.asarray(y), splits, weight, self.outer_loss
        )
        return search, splits

    def _trace(self, search):
        """Run all searches; a list with a dict for each iterate."""
        trace = Trace(
            search, self.max_iter, self.tol, self.max_time, self.callback, self.verbose > 0,
            self.error_score == "raise",
        )
        trace.run(search.start())
        trace.run_from_elsewhere()
        random = check_random_state(self.random_state)
        for _ in range(self.n_restarts):
            trace.run(search.start(random))
        if not trace.rows:
            raise ValueError(
                "no start has a finite criterion: set the estimator's parameters to values that "
                f"can be fitted, or narrow param_space ({trace.best.status})"
            )
        self.n_evaluations_, self.n_iter_ = trace.n_evaluations, max(1, trace.best.n_steps)
        self._running.messages += trace.complaints(self.max_time)
        if self.standard_errors:
            self._find_errors(search, trace.best)
        return trace.rows

    def _find_errors(self, search, best):
        try:
            found = standard_errors(
                search.problem, best.omega, method=search.method, bounds=search.bounds()
            )
        except BilevelError as error:
            if self.error_score == "raise":
                raise
            self._running.messages.append(f"no standard errors: {error}")
            return
        named = {search.prefix + name: np.array(v)[()] for name, v in found.omega.items()}
        self.standard_errors_ = {"outer_loss": found.value, **named}
