"""A regressor of a power of the target, where this predicts the target better."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted

from ._common.validation import check_groups, refuse_text
from .kernel import KernelBilevelRegressor

POWERS = (1.0, 0.5, 0.0)
ENTRIES = 2**22  # of the array (points, residuals) that one block of points makes
MOST = 4096  # residuals that are averaged over
LARGE = 0.01  # share of the samples from which on a group is left out of many


class PowerTargetRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Regression of y, √y or log y, whichever predicts y best, with means and intervals of y.

    With g(y) = (y^λ − 1)/λ, or log(y + s) for λ = 0, f the regressor of g(y), and r_i its residual
    at sample i that it was fitted without::

        ŷ(x) = (1/Σw) Σ_i w_i g⁻¹(f(x) + r_i)

    is the mean of y, where g⁻¹(f(x)) would be nearer to its median (Duan's smearing estimate). λ is
    the power with the lowest mean squared error of y, each sample left out. s is 0, or half the
    smallest positive value if y has zeros. If ``fit`` was given groups, the whole group of a sample
    is left out with it. More than 4,096 residuals are averaged in so many bins of neighbours first.

    Parameters
    ----------
    regressor : KernelBilevelRegressor, optional
        By default one with its default arguments. It needs the squared loss.
    powers : tuple of float, default (1, 0.5, 0)
        The λ that are compared, of 1 to 0. If y has negative values, 1 is taken.

    Attributes
    ----------
    power_ : float
        λ.
    errors_ : dict
        The mean squared error of y for each power, each sample (or group) left out.
    regressor_ : KernelBilevelRegressor
        That of g(y), for kbo.inspection and all that a tuned regressor knows.
    n_features_in_, feature_names_in_

    Raises
    ------
    ValueError
        For powers outside [0, 1], or none of them 1 where y has negative values; a regressor that
        cannot predict samples left out; or a target of several columns.

    References
    ----------
    Box, Cox (1964), An Analysis of Transformations, JRSS B 26. Duan (1983), Smearing Estimate: A
    Nonparametric Retransformation Method, JASA 78.

    Examples
    --------
    >>> import numpy as np
    >>> from kbo import PowerTargetRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(150, 2))
    >>> price = np.exp(X[:, 0] + 0.5 * rng.normal(size=150))
    >>> PowerTargetRegressor().fit(X, price).power_
    0.0
    """

    def __init__(self, regressor=None, *, powers=POWERS):
        self.regressor = regressor
        self.powers = powers

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._made()).input_tags
        return tags

    def _made(self):
        return KernelBilevelRegressor() if self.regressor is None else self.regressor

    def fit(self, X, y, sample_weight=None, groups=None):
        """Fit the regressor to each power of y, and keep the one that predicts y best.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,)
        sample_weight, groups : array-like (n,), optional
            As of the regressor.

        Returns
        -------
        self
        """
        powers = np.atleast_1d(self.powers).tolist()
        if not powers or not all(isinstance(p, Real) and 0 <= p <= 1 for p in powers):
            raise ValueError(f"powers={self.powers!r} must be numbers from 0 (the logarithm) to 1")
        if not hasattr(self._made(), "predict_left_out"):
            raise ValueError(
                f"regressor={self.regressor!r} must predict samples that are left out, as "
                "kbo.KernelBilevelRegressor does"
            )
        if y is None:
            raise ValueError("fit requires y to be passed, but the target y is None")
        refuse_text(y)
        y = column_or_1d(y, warn=True)
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        weight = _check_sample_weight(sample_weight, y, dtype=np.float64)
        used = weight > 0
        target, share = y[used], weight[used] / weight.sum()
        if (target < 0).any():
            if 1 not in powers:
                raise ValueError(
                    f"y has negative values, which powers={self.powers!r} do not have: add 1, or "
                    "leave powers out"
                )
            powers = [1.0]
        together = np.arange(len(y)) if groups is None else check_groups(groups, X)
        members = np.unique(np.asarray(together)[used], return_inverse=True)[1]
        positive = target[target > 0]
        half = 0.5 * positive.min() if len(positive) else 1.0
        self.errors_, kept = {}, None
        for power in powers:
            shift = half if power == 0 and not target.all() else 0.0
            scores = np.zeros(len(y))  # of samples without weight, whose power may not exist
            scores[used] = _power(target + shift, power)
            regressor = clone(self._made()).fit(X, scores, sample_weight, groups)
            guess = regressor.predict_left_out()
            residuals = scores[used] - guess, share
            left = _means_left_out(guess, residuals, power, shift, members)
            self.errors_[power] = error = float(share @ (left - target) ** 2)
            if kept is None or error < kept[0]:
                kept = error, power, shift, regressor, _in_bins(*residuals)
        _, self.power_, self._shift, self.regressor_, self._residuals = kept
        self.n_features_in_ = self.regressor_.n_features_in_
        vars(self).pop("feature_names_in_", None)  # of an earlier fit
        if hasattr(self.regressor_, "feature_names_in_"):
            self.feature_names_in_ = self.regressor_.feature_names_in_
        return self

    def predict(self, X):
        """ŷ, (k,), for X (k, d)."""
        check_is_fitted(self)
        return _mean(self.regressor_.predict(X), self._residuals, self.power_, self._shift)

    def predict_interval(self, X, coverage=0.9):
        """Lower and upper ends, (k, 2), of intervals that hold y with probability ``coverage``.

        They are g⁻¹ of the ends of the regressor's own, and have their guarantee.

        Parameters
        ----------
        X : array-like (k, d)
        coverage : float, default 0.9

        Returns
        -------
        ndarray (k, 2)
        """
        check_is_fitted(self)
        ends = self.regressor_.predict_interval(X, coverage)
        if self.power_ == 1:
            return ends
        return np.maximum(_inverse(ends, self.power_) - self._shift, 0.0)


def _mean(scores, residuals, power, shift, known=lambda rows: 1.0):
    """The mean of g⁻¹(score + residual), (k,), over residuals and their shares, (n,) each.

    The shares of some rows are multiplied by ``known(rows)``, (k, n), and sum to one again.
    """
    if power == 1:
        return scores
    rest, share = residuals
    size, means = max(1, ENTRIES // len(rest)), np.empty(len(scores))
    for start in range(0, len(scores), size):
        rows = slice(start, start + size)
        own = np.broadcast_to(share * known(rows), (len(scores[rows]), len(rest)))
        values = np.einsum("kn,kn->k", _inverse(scores[rows, None] + rest, power), own)
        means[rows] = values / np.maximum(own.sum(1), np.finfo(float).tiny)
    return np.maximum(means - shift, 0.0)  # y is never negative


def _means_left_out(scores, residuals, power, shift, members):
    """The same for each sample, (n,), without the residuals of its group, which know its target.

    Where there are so many that they are averaged in bins, only groups of a share above LARGE are
    left out: those of a smaller one hardly count.
    """
    if len(scores) <= MOST:
        others = lambda rows: members[rows, None] != members  # noqa: E731
        return _mean(scores, residuals, power, shift, others)
    rest, share = residuals
    means = _mean(scores, _in_bins(rest, share), power, shift)
    for member in np.flatnonzero(np.bincount(members, share) > LARGE):
        own = members == member
        means[own] = _mean(scores[own], _in_bins(rest[~own], share[~own]), power, shift)
    return means


def _in_bins(rest, share):
    """The residuals and their shares; MOST means of neighbours, if there are more."""
    if len(rest) <= MOST:
        return rest, share
    order = np.argsort(rest)
    starts = np.linspace(0, len(rest), MOST, endpoint=False).astype(int)
    total = np.add.reduceat(share[order], starts)
    return np.add.reduceat((share * rest)[order], starts) / total, total


def _power(y, power):
    """(y^λ − 1)/λ, or log y; y itself for λ = 1."""
    if power == 1:
        return y
    with np.errstate(divide="ignore"):
        logarithm = np.log(y)  # −∞ at zeros, where a power above 0 is −1/λ
    return logarithm if power == 0 else np.expm1(power * logarithm) / power


def _inverse(scores, power):
    """The y of which they are the power; 0 where no y is."""
    if power in (0, 1):
        return scores if power else np.exp(scores)
    with np.errstate(divide="ignore"):
        return np.exp(np.log1p(np.maximum(power * scores, -1.0)) / power)
