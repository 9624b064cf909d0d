"""Two-stage least squares, linear or with sieves."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from .._common.shown import ShownFit
from .anderson_rubin import ReducedForm
from .data import Standard, check_iv_data, exogenous_columns, is_constant
from .projection import Projection, least_explained, rank, ridge_readout, scaled_rows
from .sieve import expand, fitted, mean_slopes
from .strength import warn_if_weak


class TwoStageLeastSquares(RegressorMixin, ShownFit, BaseEstimator):
    """y = Φ(X)β + e with E[e | Z] = 0, by least squares on the projection of Φ onto Ψ(Z)::

        P = Ψ(ΨᵀWΨ)⁺ΨᵀW,    β = (ΦᵀWPΦ + alpha·I)⁻¹ ΦᵀWPy

    Φ and Ψ contain a constant and, without transformers, the columns of X and of Z (linear 2SLS).
    With transformers they are sieves, and h(x) = Φ(x)β is a nonparametric estimate. The constant
    is not penalised.

    Parameters
    ----------
    treatment_basis, instrument_basis : transformer or None
        scikit-learn transformers of X and of Z into Φ and Ψ (PolynomialFeatures, SplineTransformer,
        …), fitted to the samples of positive weight; None takes the columns as they are. If alpha
        is 0, Ψ must identify all independent columns of Φ, so it needs at least as many.
    alpha : float, default 0
        Ridge on the coefficients of the standardised columns of Φ, for weights of mean one.

    Attributes
    ----------
    coef_, intercept_ : ndarray (p,), float
        The coefficients of the columns of Φ other than the constant, and of the constant.
    covariance_ : ndarray (1 + p, 1 + p)
        That of ``(intercept_, coef_)``: A⁻¹ (Σ_i w_i² e_i² φ̂_i φ̂_iᵀ) A⁻¹ · n/(n − p − 1),
        A = ΦᵀWPΦ + alpha·I, φ̂ = PΦ, e = y − Φβ, for n samples of positive weight (HC1: robust to
        heteroskedasticity). It does not include the bias of a ridge, or of a sieve too small.
    standard_errors_ : ndarray (p,)
        Of ``coef_``: the roots of the diagonal of ``covariance_``.
    effective_f_ : float or None
        The effective F of Montiel Olea and Pflueger, which holds under heteroskedasticity: ‖π‖²
        divided by the trace of its HC1 covariance, for the coefficients π of the first stage in an
        orthonormal basis of the excluded instruments. With one instrument it is the robust F. None
        unless exactly one column of Φ is endogenous.
    first_stage_statistic_ : float
        The joint strength of the instruments. With one endogenous column it is the partial F of
        the excluded instruments, the columns of Ψ beyond the exogenous ones: F =
        ((SSE₀ − SSE)/k)/(SSE/(n − rank Ψ)), for k excluded instruments and n samples of positive
        weight. With several it is Cragg and Donald's statistic, the same F for the combination of
        the endogenous columns of Φ that is explained least. Below 10 (Staiger and Stock's rule of
        thumb) a WeakInstrumentWarning is given; without endogenous columns it is infinite. Both
        statistics assume homoskedastic errors. A rich sieve always has weakly explained
        combinations, which is what the ridge is for.
    first_stage_strength_ : float
        The partial R² = 1 − SSE/SSE₀ of that column or combination, in the sample.
    endogenous_ : ndarray (d,) of bool
        The columns of X that are not linear combinations of Z's columns and a constant.
    treatment_basis_, instrument_basis_
        The fitted transformers.
    n_features_in_, feature_names_in_, n_instruments_in_

    References
    ----------
    Wooldridge (2010), Econometric Analysis of Cross Section and Panel Data, §5.2 (covariance:
    Theorem 5.3).
    Newey, Powell (2003), Instrumental Variable Estimation of Nonparametric Models: sieves.
    Staiger, Stock (1997), Instrumental Variables Regression with Weak Instruments.
    Montiel Olea, Pflueger (2013), A Robust Test for Weak Instruments, eq. (4).
    Cragg, Donald (1993), Testing Identifiability and Specification in Instrumental Variable Models.

    Examples
    --------
    >>> from kbo import datasets
    >>> from kbo.estimators import TwoStageLeastSquares
    >>> data = datasets.make_iv_linear(500, random_state=0)
    >>> model = TwoStageLeastSquares().fit(data.X, data.y, Z=data.Z)
    >>> lower, upper = model.confidence_band(data.X_test)
    >>> bool((lower < upper).all())
    True
    """

    __metadata_request__fit: ClassVar = {"Z": True}

    _parameter_constraints: ClassVar[dict] = {
        "treatment_basis": [HasMethods(["fit", "transform"]), None],
        "instrument_basis": [HasMethods(["fit", "transform"]), None],
        "alpha": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, treatment_basis=None, instrument_basis=None, *, alpha=0.0):
        self.treatment_basis = treatment_basis
        self.instrument_basis = instrument_basis
        self.alpha = alpha

    def fit(self, X, y, Z=None, sample_weight=None):
        """Fit both stages.

        Parameters
        ----------
        X : array-like (n, d)
            Treatment and exogenous covariates.
        y : array-like (n,)
        Z : array-like (n, q), optional
            Instruments, and the exogenous columns of X again. None: all of X is exogenous, Ψ = Φ.
        sample_weight : array-like (n,), optional
            Weights of the squared errors in both stages. Only their ratios matter: w, 1000 w and
            w/Σw give the same fit.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is not finite or has the wrong shape, Z contains no instrument, or alpha
            is zero and Ψ does not identify all independent columns of Φ.

        Warns
        -----
        WeakInstrumentWarning
            If ``first_stage_statistic_`` is below 10.
        """
        self._validate_params()
        X, y, Z, weight = check_iv_data(self, X, y, Z, sample_weight)
        self.endogenous_ = ~exogenous_columns(X, Z, weight)
        self.n_instruments_in_ = X.shape[1] if Z is None else Z.shape[1]
        used = weight > 0
        X, y, weight = X[used], y[used], weight[used]
        root = np.sqrt(weight)
        self.treatment_basis_ = fitted(self.treatment_basis, X)
        features = expand(self.treatment_basis_, X)
        self._units = Standard.of(features, weight)
        columns = np.column_stack([np.ones(len(X)), self._units(features)])
        if Z is None:
            self.instrument_basis_, projection = None, Projection.on(columns, root)
        else:
            Z = Z[used]
            self.instrument_basis_ = fitted(self.instrument_basis, Z)
            instruments = expand(self.instrument_basis_, Z)
            kept = ~is_constant(instruments.std(0), instruments.mean(0))
            instruments = Standard.of(instruments, weight)(instruments)[:, kept]
            instruments = np.column_stack([np.ones(len(X)), instruments])
            projection = Projection.on(instruments, root)
        endogenous = self.endogenous_.any()
        self.first_stage_statistic_, self.first_stage_strength_ = (
            least_explained(columns, projection) if endogenous else (np.inf, 1.0)
        )
        self._solve(columns, y, root, projection)
        warn_if_weak(self, "linear", stacklevel=2)
        self._reduced = ReducedForm.of(columns, y, projection)
        self.effective_f_ = None if self._reduced is None else self._reduced.effective_f
        return self

    def _solve(self, columns, y, root, projection):
        inside = projection.coordinates(columns)  # rank(Ψ) rows rather than n, all that is needed
        independent, identified = rank(scaled_rows(columns, root)), rank(inside)
        if self.alpha == 0 and identified < independent:
            raise ValueError(
                f"the instruments identify {identified} of the {independent} independent columns "
                "of the treatment's basis (with the constant): repeat the exogenous columns of "
                "X in Z, or give more instruments; for a sieve a larger instrument_basis, a "
                "smaller treatment_basis, or alpha > 0"
            )
        readout, self._penalty = ridge_readout(inside, self.alpha), self.alpha
        beta = readout @ projection.coordinates(y[:, None])[:, 0]
        n, p = columns.shape
        errors = root * (y - columns @ beta)
        middle = projection.basis.T @ (errors[:, None] ** 2 * projection.basis)
        spread = readout @ middle @ readout.T * (n / max(n - independent, 1))
        # Transform back from standardised columns to the user's.
        back = np.zeros((p, p))
        back[0, 0] = 1.0
        back[np.arange(1, p), np.arange(1, p)] = 1 / self._units.scale
        back[0, 1:] = -self._units.mean / self._units.scale
        beta, self.covariance_ = back @ beta, back @ spread @ back.T
        self.intercept_, self.coef_ = float(beta[0]), beta[1:]
        self.standard_errors_ = np.sqrt(np.diag(self.covariance_)[1:])

    def _columns(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return expand(self.treatment_basis_, X)

    def predict(self, X):
        """``h(X) = intercept_ + Φ(X) coef_``, (k,).

        Parameters
        ----------
        X : array-like (k, d)
        """
        columns = self._columns(X)
        return self.intercept_ + columns @ self.coef_

    def confidence_band(self, X, level=0.95):
        """h(x) ± z·se(h(x)), a pointwise band; z is the normal quantile for ``level``.

        Parameters
        ----------
        X : array-like (k, d)
        level : float
            In (0, 1): the asymptotic probability that the band covers Φ(x)β at a point, if the
            instruments are strong.

        Returns
        -------
        lower, upper : ndarray (k,)

        Raises
        ------
        ValueError
            If ``level`` is outside (0, 1), or if ``alpha`` is positive: the band leaves out the
            bias of the ridge, and would not have this coverage.
        """
        check_is_fitted(self)
        if self._penalty > 0:
            raise ValueError(
                f"alpha={self._penalty} biases the estimate by an amount that the band would not "
                "cover: fit with alpha=0, and a smaller treatment_basis if that is not identified"
            )
        _check_level(level)
        columns = self._columns(X)
        value = self.intercept_ + columns @ self.coef_
        columns = np.column_stack([np.ones(len(columns)), columns])
        variance = np.einsum("ij,jk,ik->i", columns, self.covariance_, columns)
        reach = norm.ppf(0.5 + level / 2) * np.sqrt(np.maximum(variance, 0.0))
        return value - reach, value + reach

    def anderson_rubin(self, level=0.95):
        """A confidence set for the coefficient of the one endogenous column, even if Z is weak::

            {b : (δ − bπ)ᵀ V(b)⁻¹ (δ − bπ) ≤ χ²_k(level)}

        δ and π are the coefficients of y and of that column on the k excluded instruments, V(b) is
        the HC1 covariance of δ − bπ. If b is true, y − b·column does not depend on the instruments
        beyond the exogenous columns; the set holds every b for which a test finds no such
        dependence. Weak instruments make it wide, not wrong.

        Parameters
        ----------
        level : float
            In (0, 1): the asymptotic probability that the set holds the coefficient.

        Returns
        -------
        ndarray (m, 2)
            The ends of its m disjoint intervals, from left to right, which may be infinite. With
            no interval, the model is rejected: the instruments contradict each other.

        Raises
        ------
        ValueError
            If ``level`` is outside (0, 1), or unless exactly one column of Φ is endogenous.

        References
        ----------
        Anderson, Rubin (1949), Estimation of the Parameters of a Single Equation in a Complete
        System of Stochastic Equations. Andrews, Stock, Sun (2019), Weak Instruments in Instrumental
        Variables Regression: Theory and Practice, Section 5.
        """
        check_is_fitted(self)
        _check_level(level)
        if self._reduced is None:
            raise ValueError(
                "the confidence set exists for one endogenous column only, and here endogenous_ is "
                f"{self.endogenous_} (or a basis makes several columns of one): fit with exactly "
                "one endogenous column"
            )
        place = self._reduced.column - 1
        scale = self._units.scale[place]
        center, unit = scale * self.coef_[place], scale * self.standard_errors_[place]
        return self._reduced.confidence_set(level, center, unit or 1.0) / scale

    def average_derivative(self, X):
        """(1/k) Σ_i ∂h/∂x(x_i), (d,); by central differences if there is a ``treatment_basis``.

        Parameters
        ----------
        X : array-like (k, d)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        if self.treatment_basis_ is None:
            return self.coef_.copy()
        return mean_slopes(self.treatment_basis_, X, self.coef_)


def _check_level(level):
    if not (isinstance(level, Real) and 0 < level < 1):
        raise ValueError(f"level={level!r} must lie strictly between 0 and 1")
