"""Kernel instrumental-variable regression that tunes itself."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ...solvers import Solver
from ...status import warn_explained
from .._common.folds import make_folds
from .._common.predict import values_at
from .._common.shown import ShownFit
from .._common.validation import computing
from .data import Standard, check_iv_data, distinct_rows, drawn, exogenous_columns
from .strength import first_stage_strength, warn_if_few_values, warn_if_weak
from .tuning import Tuner, first_stage_solver
from .units import in_units, mean_derivative, named_kernel, treatment_in_units, treatment_kernel

STATIONARY = ("gaussian", "laplacian", "matern12", "matern32", "matern52", "rational_quadratic")
OPTIONAL_ATTRIBUTES = (
    "first_stage_ridge_", "first_stage_result_", "first_stage_strength_",
    "first_stage_statistic_", "instrument_kernel_", "instrument_lengthscale_", "solver_",
)


class KernelIVRegressor(RegressorMixin, ShownFit, BaseEstimator):
    """Nonparametric instrumental variables: y = h(X) + e with E[e | Z] = 0, h in an RKHS::

        first stage   Ê[g(X) | Z], by kernel ridge regression on Z (ridge λ, kernel k_Z)
        second stage  h = argmin_h (1/Σw) Σ_i w_i e_i Ê[e | z_i] + ξ ‖h‖²_k,  e = y − h(X)

    The first stage smooths the errors e, not h alone. At the true h, E[e | Z] = 0, so that λ
    causes no bias. Ridges and lengthscales are tuned by hypergradient: (λ, k_Z) on how well the
    features ψ(X) of k are predicted out of fold, (ξ, k) on ``criterion``. The λ used is a tenth of
    the tuned one, because what the first stage smooths away is lost to the second. The stages are
    tuned in turn, at most twice. Columns are standardised internally.

    Columns of X in the span of Z's columns are exogenous; k = k_E·k_O is the product of a kernel
    on the endogenous columns and one on the exogenous ones. Without endogenous columns the
    estimator is kernel ridge regression. There is no confidence band, since no theory guarantees
    coverage in an ill-posed problem with data-driven ridges; TwoStageLeastSquares has one.

    Parameters
    ----------
    kernel : str, default "gaussian"
        k and k_Z: "gaussian", "laplacian", "matern12", "matern32", "matern52" or
        "rational_quadratic".
    ard : bool, default True
        One lengthscale for each column of X and Z; otherwise one each for X_E, X_O and Z.
    criterion : {"marginal_likelihood", "cv"}
        The criterion of the second stage. The marginal likelihood is that of the Gaussian process
        with posterior mean h, Ty ~ N(0, s(TKTᵀ/(nξ) + I)), where TᵀT = WS for the first stage's
        smoother S and s is also the variance of the part of y outside T, times a weak prior: the
        log lengthscale of each standardised column is N(log(1.5√d), 1). "cv" is Σ w e Ê[e | z] on
        the test samples of each fold, with h fitted to the training samples; it is noisier.
    cv : None, int, splitter or iterable of splits
        The folds of the first stage and of criterion="cv"; None means 5 folds.
    n_components : int, default 192
        The number of samples of X, drawn uniformly, whose kernel functions span h.
    solver : {"auto", "exact", "nystrom", "falkon", "full_cg"} or kbo.solvers.Solver
        For the first stage. "auto" is exact up to 512 samples, Nystrom with ``n_centers`` above.
    n_centers : int or None
        The number of samples of Z that span the first stage; None means, with "auto", 256 up to
        2,000 samples and 512 beyond.
    max_iter : int, default 50
        Maximal number of accepted steps of each search.
    tol : float, default 1e-5
        The search of the second stage stops when each of two consecutive steps lowers the
        criterion by at most this fraction. For the first stage the fraction is 100 times ``tol``.
    standardize : bool, default True
        Whether each column of X is scaled to variance 1, as y and the columns of Z always are. If
        False, one factor scales all of X: for columns of one unit, such as pixels, some of which
        may be pure noise.
    random_state : None, int or RandomState
        Draws the points that span h and the first stage, and shuffles the folds if ``cv`` is None
        or an int (None does not shuffle, and draws as 0 does).
    device : None, "cpu" or "gpu"
    verbose : int
        Positive values show progress bars.

    Attributes
    ----------
    first_stage_ridge_, second_stage_ridge_ : float
        λ and ξ. Attributes of the first stage exist if some column of X is endogenous.
    treatment_lengthscale_, instrument_lengthscale_ : ndarray (d,), (q,)
        The lengthscales of k and k_Z, in the units of X and Z.
    first_stage_strength_ : float
        R² = 1 − SSE(Z)/SSE(exogenous columns), out of fold: the share of the variance that Z
        explains beyond a constant and the exogenous columns. The variance is that of the kernel
        features (lengthscale 1) of one standardised combination of the endogenous columns: the
        one that Z explains least, among combinations of their first 16 principal components.
    first_stage_statistic_ : float
        The F ratio R²/(1 − R²)·n/q for q excluded instruments; an R² out of fold needs no degrees
        of freedom. Below 10 (Staiger and Stock's rule of thumb for the linear case) a
        WeakInstrumentWarning is given.
    first_stage_result_, second_stage_result_ : dict
        "value" (of the criterion; for the marginal likelihood, its log is −2/n times the log
        posterior density), "status", "n_steps" and "n_evaluations" of the last search of each.
    endogenous_ : ndarray (d,) of bool
        The columns of X that are not linear combinations of Z's columns and a constant.
    kernel_, instrument_kernel_ : Kernel
        The tuned kernels, with NumPy parameters in the units of X and Z.
    X_fit_, dual_coef_, intercept_ : ndarray (M, d), ndarray (M,), float
        ``h(x) = intercept_ + Σ_m dual_coef_m k(X_fit_m, x)``.
    solver_ : str
        The solver of the first stage.
    n_iter_, n_features_in_, feature_names_in_, n_instruments_in_

    References
    ----------
    Singh, Sahani, Gretton (2019), Kernel Instrumental Variable Regression: the two stages, with y
    regressed on Ê[h | z] instead.
    Dikkala, Lewis, Mackey, Syrgkanis (2020), Minimax Estimation of Conditional Moment Models: this
    second stage, as the value of a game against an adversary with penalised norm.
    Wang, Zhou, Ren, Zhu (2021), Scalable Quasi-Bayesian Inference for Instrumental Variable
    Regression: the Gaussian process whose posterior mean is h.
    Staiger, Stock (1997), Instrumental Variables Regression with Weak Instruments.

    Examples
    --------
    >>> from kbo import datasets
    >>> from kbo.estimators import KernelIVRegressor
    >>> data = datasets.make_iv_sigmoid(300, random_state=0)
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
            Weights of the samples in both stages. Only their ratios matter: w, 1000 w and w/Σw
            give the same fit.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is not finite or has the wrong shape, or Z contains no instrument.

        Warns
        -----
        WeakInstrumentWarning
            If ``first_stage_statistic_`` is below 10, or the instruments take fewer than 10 values.
        ConvergenceWarning
            If the last search of a stage did not reach its tolerance.
        """
        self._validate_params()
        for name in OPTIONAL_ATTRIBUTES:  # drop those of an earlier fit
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
        if Z is not None:
            warn_if_few_values(X, Z, exogenous, folds.weight, stacklevel=2)
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
        warn_if_weak(self, "kernel", stacklevel=3)

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
                warn_explained(message, ConvergenceWarning, stacklevel=3)

    def predict(self, X):
        """h(X), (k,): the mean of y if X were set by intervention rather than observed.

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
            The points to average over; None means the samples of ``fit``, with their weights.
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
