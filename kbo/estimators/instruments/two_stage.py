"""Two-stage least squares, linear or with sieves."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from .data import Standard, check_iv_data, exogenous_columns, is_constant
from .projection import Projection, least_explained, rank, ridge_readout, scaled_rows
from .strength import warn_if_weak

STEP = 1e-5  # step of the central differences, in standard deviations of the column


class TwoStageLeastSquares(RegressorMixin, BaseEstimator):
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
        A = ΦᵀWPΦ + alpha·I, φ̂ = PΦ, e = y − Φβ, for n samples of positive weight. This sandwich
        estimator is robust to heteroskedasticity (HC1) and exact for least squares as n → ∞. It
        does not include the bias of a ridge, or of a sieve that is too small.
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
        self.treatment_basis_ = _fitted(self.treatment_basis, X)
        features = _expand(self.treatment_basis_, X)
        self._units = Standard.of(features, weight)
        columns = np.column_stack([np.ones(len(X)), self._units(features)])
        if Z is None:
            self.instrument_basis_, projection = None, Projection.on(columns, root)
        else:
            Z = Z[used]
            self.instrument_basis_ = _fitted(self.instrument_basis, Z)
            instruments = _expand(self.instrument_basis_, Z)
            kept = ~is_constant(instruments.std(0), instruments.mean(0))
            instruments = Standard.of(instruments, weight)(instruments)[:, kept]
            instruments = np.column_stack([np.ones(len(X)), instruments])
            projection = Projection.on(instruments, root)
        endogenous = self.endogenous_.any()
        self.first_stage_statistic_, self.first_stage_strength_ = (
            least_explained(columns, projection) if endogenous else (np.inf, 1.0)
        )
        warn_if_weak(self.first_stage_statistic_, stacklevel=2)
        self._solve(columns, y, root, projection)
        return self

    def _solve(self, columns, y, root, projection):
        inside = projection.coordinates(columns)  # rank(Ψ) rows rather than n, all that is needed
        independent, identified = rank(scaled_rows(columns, root)), rank(inside)
        if self.alpha == 0 and identified < independent:
            raise ValueError(
                f"the instruments identify {identified} of the {independent} independent columns "
                "of the treatment's basis (with the constant): repeat the exogenous columns of "
                "X in Z, or give more instruments, a larger instrument_basis, a smaller "
                "treatment_basis, or alpha > 0"
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

    def _columns(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return _expand(self.treatment_basis_, X)

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
        if not (isinstance(level, Real) and 0 < level < 1):
            raise ValueError(f"level={level!r} must lie strictly between 0 and 1")
        columns = self._columns(X)
        value = self.intercept_ + columns @ self.coef_
        columns = np.column_stack([np.ones(len(columns)), columns])
        variance = np.einsum("ij,jk,ik->i", columns, self.covariance_, columns)
        reach = norm.ppf(0.5 + level / 2) * np.sqrt(np.maximum(variance, 0.0))
        return value - reach, value + reach

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
        out = np.empty(X.shape[1])
        for j, spread in enumerate(X.std(0)):
            shift = np.zeros(X.shape[1])
            shift[j] = STEP * (spread if spread > 0 else max(abs(X[0, j]), 1.0))
            ends = [_expand(self.treatment_basis_, X + sign * shift) for sign in (1, -1)]
            out[j] = np.mean((ends[0] - ends[1]) @ self.coef_) / (2 * shift[j])
        return out


def _fitted(basis, values):
    return None if basis is None else clone(basis).fit(values)


def _expand(basis, values):
    """The columns (n, p) that a fitted basis makes of the values; the values if it is None."""
    if basis is None:
        return values
    expanded = basis.transform(values)
    return np.asarray(expanded.toarray() if hasattr(expanded, "toarray") else expanded, float)
