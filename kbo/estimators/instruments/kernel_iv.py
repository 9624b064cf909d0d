"""Kernel instrumental-variable regression that tunes itself."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ...solvers import Solver
from .._common.folds import make_folds
from .._common.predict import values_at
from .._common.validation import computing
from .data import Standard, check_iv_data, distinct_rows, drawn, exogenous_columns
from .strength import first_stage_strength, warn_if_weak
from .tuning import Tuner, first_stage_solver
from .units import in_units, mean_derivative, named_kernel, treatment_in_units, treatment_kernel

STATIONARY = (
    "gaussian", "laplacian", "matern12", "matern32", "matern52", "rational_quadratic",
)
OPTIONAL_ATTRIBUTES = (
    "first_stage_ridge_", "first_stage_result_", "first_stage_strength_",
    "first_stage_statistic_", "instrument_kernel_", "instrument_lengthscale_", "solver_",
)


class KernelIVRegressor(RegressorMixin, BaseEstimator):
    """Nonparametric instrumental variables: y = h(X) + e with E[e | Z] = 0, h in an RKHS.

        first stage   Ê[g(X) | Z], by kernel ridge regression on Z (ridge λ, kernel k_Z)
        second stage  h = argmin_h (1/Σw) Σ_i w_i e_i Ê[e | z_i] + ξ ‖h‖²_k,  e = y − h(X)

    At the true h nothing of e is found through Z, whatever λ: it is the errors that are smoothed,
    not h alone, so that λ biases nothing. Ridges and lengthscales are tuned by hypergradient:
    (λ, k_Z) by how well the features ψ(X) of k are predicted out of fold, (ξ, k) by ``criterion``.
    λ is then a tenth of that, as what it smooths away is lost to the second stage. The two stages
    take turns until neither changes. Everything is standardised within.

    Columns of X in the span of Z's columns are exogenous, and k = k_E·k_O, of endogenous and
    exogenous columns. Without endogenous columns the estimator is kernel ridge regression.

    There is no confidence band: for an ill-posed inverse problem whose ridges are chosen by the
    data, no theory says that one would cover h. TwoStageLeastSquares has one.

    Parameters
    ----------
    kernel : str, default "gaussian"
        k and k_Z: "gaussian", "laplacian", "matern12", "matern32", "matern52" or
        "rational_quadratic".
    ard : bool, default True
        One lengthscale for each column of X and Z; otherwise one for X_E, X_O and Z each.
    criterion : {"marginal_likelihood", "cv"}
        What the second stage is judged by. The marginal likelihood is that of the Gaussian process
        whose mean is h, Ty ~ N(0, s(TKTᵀ/(nξ) + I)) with TᵀT = WS for the first stage S, where s
        is the variance of the rest of y too, times a weak prior: the log of each lengthscale, in
        standard deviations, is N(log(1.5√d), 1). The other is Σ w e Ê[e | z] on the test samples
        of the folds of ``cv``, with h fitted to the training samples; it varies more.
    cv : None, int, splitter or iterable of splits
        Of the first stage, and of criterion="cv"; None means 5 folds.
    n_components : int, default 192
        How many of the samples of X, drawn uniformly, span h.
    solver : {"auto", "exact", "nystrom", "falkon", "full_cg"} or kbo.solvers.Solver
        Of the first stage: "auto" is exact up to 512 samples and Nystrom with ``n_centers`` above.
    n_centers : int or None
        How many samples of Z span the first stage; None means for "auto" 256 up to 2,000 samples
        and 512 beyond.
    max_iter : int, default 50
        Accepted steps of each search.
    tol : float, default 1e-5
        The second stage's search stops when two steps running lower the criterion by at most this
        fraction, the first stage's at a hundred times it.
    standardize : bool, default True
        Whether each column of X is scaled to variance 1, as those of Z and y always are, or all by
        one number: where they share a unit, such as pixels, of which some would be but noise.
    random_state : None, int or RandomState
        Draws the points that span h and μ, and shuffles the folds when ``cv`` is None or an int
        (None keeps the order of the samples, and draws as 0 does).
    device : None, "cpu" or "gpu"
    verbose : int
        Progress bars if positive.

    Attributes
    ----------
    first_stage_ridge_, second_stage_ridge_ : float
        λ and ξ. Those of the first stage exist where some column is endogenous.
    treatment_lengthscale_, instrument_lengthscale_ : ndarray (d,), (q,)
        Of k and k_Z, in the units of X and Z.
    first_stage_strength_ : float
        R² = 1 − SSE(Z)/SSE(exogenous columns), out of fold: the share of the variance that Z
        explains beyond a constant and the exogenous columns. The variance is that of the features,
        of lengthscale 1, of one standardised combination of the endogenous columns: the one that Z
        explains least, among those of their first 16 principal components.
    first_stage_statistic_ : float
        The F ratio R²/(1 − R²)·(n − f)/k, for f effective degrees of freedom of the first stage,
        k of them beyond the exogenous columns. Below 10 (Staiger and Stock's rule of thumb for the
        linear case) a WeakInstrumentWarning is given; a flexible first stage on few samples has a
        low F even where R² is not small, and overfits.
    first_stage_result_, second_stage_result_ : dict
        "value" (of the criterion; the log of a posterior's is −2/n times the log density),
        "status", "n_steps" and "n_evaluations" of the last searches.
    endogenous_ : ndarray (d,) of bool
        The columns of X that are no combination of Z's columns and a constant.
    kernel_, instrument_kernel_ : Kernel
        With NumPy parameters, in the units of X and Z.
    X_fit_, dual_coef_, intercept_ : ndarray (M, d), ndarray (M,), float
        h(x) = intercept_ + Σ_m dual_coef_m k(X_fit_m, x).
    solver_ : str
        Of the first stage.
    n_iter_, n_features_in_, feature_names_in_, n_instruments_in_

    References
    ----------
    Singh, Sahani, Gretton (2019), Kernel Instrumental Variable Regression: the two stages, with y
    regressed on Ê[h | z] instead.
    Dikkala, Lewis, Mackey, Syrgkanis (2020), Minimax Estimation of Conditional Moment Models: this
    second stage, as the value of a game, for a norm of the adversary.
    Wang, Zhou, Ren, Zhu (2021), Scalable Quasi-Bayesian Inference for Instrumental Variable
    Regression: the Gaussian process with this mean.
    Staiger, Stock (1997), Instrumental Variables Regression with Weak Instruments.

    Examples
    --------
    >>> from kbo import datasets
    >>> from kbo.estimators import KernelIVRegressor
    >>> data = datasets.make_iv_sigmoid(500, random_state=0)
    >>> model = KernelIVRegressor().fit(data.X, data.y, Z=data.Z)
    >>> bool(((model.predict(data.X_test) - data.y_test) ** 2).mean() < 0.2)
    True
    """

    __metadata_request__fit: ClassVar = {"Z": True}

    _parameter_constraints: ClassVar[dict] = {
        "kernel": [StrOptions(set(STATIONARY))],
        "ard": ["boolean"],
        "criterion": [StrOptions({"marginal_likelihood", "cv"})],
        "cv": ["cv_object"],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "solver": [str, Solver],
        "n_centers": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "standardize": ["boolean"],
        "random_state": ["random_state"],
        "device": [StrOptions({"cpu", "gpu"}), None],
        "verbose": ["verbose"],
    }

    def __init__(
        self, kernel="gaussian", *, ard=True, criterion="marginal_likelihood", cv=None,
        n_components=192, solver="auto", n_centers=None, max_iter=50, tol=1e-5, standardize=True,
        random_state=None, device=None, verbose=0,
    ):
        self.kernel = kernel
        self.ard = ard
        self.criterion = criterion
        self.cv = cv
        self.n_components = n_components
        self.solver = solver
        self.n_centers = n_centers
        self.max_iter = max_iter
        self.tol = tol
        self.standardize = standardize
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X, y, Z=None, sample_weight=None):
        """Tune and fit both stages.

        Parameters
        ----------
        X : array-like (n, d)
            Treatment and exogenous covariates.
        y : array-like (n,)
        Z : array-like (n, q), optional
            Instruments, and the exogenous columns of X again. None: all of X is exogenous.
        sample_weight : array-like (n,), optional
            Relative to their mean over the samples that have any, in both stages: w, 1000 w and
            w/Σw give the same.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is not finite or not of the right shape, or Z holds no instrument.

        Warns
        -----
        WeakInstrumentWarning
            Where ``first_stage_statistic_`` is below 10.
        ConvergenceWarning
            Where the last search of a stage missed its tolerance.
        """
        self._validate_params()
        for name in OPTIONAL_ATTRIBUTES:  # of an earlier fit
            self.__dict__.pop(name, None)
        X, y, Z, weight = check_iv_data(self, X, y, Z, sample_weight)
        exogenous = exogenous_columns(X, Z, weight)
        self.n_instruments_in_ = X.shape[1] if Z is None else Z.shape[1]
        self.endogenous_ = ~exogenous
        random = None if self.random_state is None else check_random_state(self.random_state)
        folds = make_folds(self.cv, X, y, weight, False, random)
        draws = random or np.random.RandomState(0)
        X, y = X[folds.order], y[folds.order]
        Z = None if exogenous.all() else Z[folds.order]
        units = (Standard.of if self.standardize else Standard.together)(X, folds.weight)
        y_units = Standard.of(y, folds.weight)
        z_units = None if Z is None else Standard.of(Z, folds.weight)
        x = units(X)
        chosen = drawn(distinct_rows(x, folds.weight), self.n_components, draws)
        apart = 1 if Z is None else len(distinct_rows(Z, folds.weight))
        solver = first_stage_solver(self.solver, self.n_centers, apart, draws.randint(2**31 - 1))
        tuner = Tuner(
            x, y_units(y), None if Z is None else z_units(Z), folds, x[chosen],
            treatment_kernel(self.kernel, self.ard, exogenous),
            None if Z is None else named_kernel(self.kernel, Z.shape[1], self.ard),
            self.criterion == "cv", solver, self.max_iter, self.tol, self.verbose > 0,
        )
        with computing(self.device):
            found = tuner.run()
            if Z is not None:
                self._keep_first_stage(tuner, found, z_units)
        self._keep(tuner, found, units, y_units)
        return self

    def _keep_first_stage(self, tuner, found, units):
        total = tuner.folds.weight.sum()
        self.first_stage_ridge_ = found.instrument_alpha / total
        self.first_stage_result_ = _summary(found.first)
        self.solver_ = str(found.solver)
        self.instrument_kernel_ = in_units(found.instrument_kernel, units.scale)
        length = self.instrument_kernel_.lengthscale
        self.instrument_lengthscale_ = np.array(np.broadcast_to(length, units.scale.shape))
        self.first_stage_strength_, self.first_stage_statistic_ = first_stage_strength(
            found, tuner, ~self.endogenous_
        )
        warn_if_weak(self.first_stage_statistic_, stacklevel=3)

    def _keep(self, tuner, found, units, y_units):
        self.second_stage_ridge_ = found.alpha / tuner.folds.weight.sum()
        self.second_stage_result_ = _summary(found.second)
        self.n_iter_ = max(1, found.second.n_steps)
        self.kernel_, self.treatment_lengthscale_ = treatment_in_units(found.kernel, units.scale)
        self.X_fit_ = units.mean + units.scale * tuner.centers
        self.dual_coef_ = y_units.scale * found.dual
        self.intercept_ = float(y_units.mean)
        X, weight = units.mean + units.scale * tuner.X, tuner.folds.weight
        self._average_derivative = self._derivative(X, weight / weight.sum())
        for stage, result in (("second", found.second), ("first", found.first)):
            if result is not None and not result.status.ok:
                message = f"{stage} stage: {result.failure or result.status}"
                warnings.warn(message, ConvergenceWarning, stacklevel=3)

    def predict(self, X):
        """h(X), (k,): what y would be if X were set, not observed.

        Parameters
        ----------
        X : array-like (k, d)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        values = values_at(self.kernel_, self.X_fit_, self.dual_coef_[:, None], X, self.device)
        return self.intercept_ + values[:, 0]

    def average_derivative(self, X=None):
        """(1/k) Σ_i ∂h/∂x(x_i), (d,): the mean effect of a small change of each column.

        Parameters
        ----------
        X : array-like (k, d), optional
            None means the samples of ``fit``, with their weights.
        """
        check_is_fitted(self)
        if X is None:
            return self._average_derivative.copy()
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self._derivative(X, np.full(len(X), 1 / len(X)))

    def _derivative(self, X, share):
        with computing(self.device):
            return mean_derivative(self.kernel_, self.X_fit_, self.dual_coef_, X, share)


def _summary(result):
    return {
        "value": float(result.value), "status": result.status.name,
        "n_steps": result.n_steps, "n_evaluations": result.n_evaluations,
    }
