"""Predictions of the regressor, with standard deviations and intervals."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from sklearn.model_selection import TimeSeriesSplit
from sklearn.utils.validation import check_is_fitted

from ...losses import Squared
from ...status import warn_explained
from .._common.validation import computing
from .left_out import LeftOut
from .posterior import Spanned, Whole

ENTRIES = 2**22  # of the arrays (points, samples, outputs) that one block of points makes


class Predicting:
    """The part of the regressor that predicts.

    A posterior is made when it is first asked for, and not stored with the model.
    """

    _posterior = None

    def __getstate__(self):
        return {**super().__getstate__(), "_posterior": None}

    def predict(self, X, return_std=False):
        """c + h(x), (k,) or (k, p); its exponential for the Poisson loss.

        With ``return_std`` also the standard deviation of a new target of weight one, ::

            s·√(k(x, x) − k(x, X)(K + alpha W⁻¹)⁻¹k(X, x) + alpha),    s² alpha = ``noise_``²,

        that of the Gaussian process whose mean h is, noise included. With centres (``solver_``) it
        is that of the "deterministic training conditional" process (see Posterior).

        Parameters
        ----------
        X : array-like (k, d)
        return_std : bool, default False
            Costs n³/3 operations and n² numbers of memory at the first call (n M² and M² with M
            centres), later only products with these.

        Returns
        -------
        mean : ndarray (k,) or (k, p)
        std : ndarray (k,) or (k, p)
            Only with ``return_std``.

        Raises
        ------
        ValueError
            With ``return_std``, for losses other than "squared", or an alpha for each output.

        References
        ----------
        Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eq. (2.26).
        """
        X = self._coordinates(X)
        scores = self._scores(X)
        mean = np.exp(scores) if self._log_link else scores
        if not return_std:
            return mean
        posterior, unit = self._known("return_std=True")
        with computing(self.device):
            variance = np.concatenate([
                posterior.variance(X[rows], posterior.rows(X[rows]))
                for rows in _blocks(len(X), len(posterior.X))
            ])
        return mean, (np.sqrt(variance)[:, None] * unit).reshape(mean.shape)

    def predict_left_out(self):
        """c + h₋ᵢ(x_i), (n,) or (n, p): the prediction of each sample by the others.

        The samples are those of positive weight. The whole group of a sample is left out with it,
        if ``fit`` was given groups. Hyperparameters, tuned on all samples, stay as they are.

        Raises
        ------
        ValueError
            For losses other than "squared", or an alpha for each output.
        """
        check_is_fitted(self)
        self._known("predict_left_out")
        points, _, rest, *_ = self._samples
        scores = self._scores(points)
        return scores + (rest - self._left_out.residuals).reshape(scores.shape)

    def predict_average(self, X):
        """The mean of c + h over the rows of X, and its standard deviation, without noise::

            mean_i c + h(x_i),    s·√(mean_ij C(x_i, x_j))

        C is the posterior covariance of the process of ``predict``: the errors of h at points that
        are close to each other are correlated, and do not average out. With one column set to
        the same value in all rows, this is its partial dependence.

        Parameters
        ----------
        X : array-like (k, d)
            Costs k² numbers of memory.

        Returns
        -------
        mean, std : float, or ndarray (p,)

        Raises
        ------
        ValueError
            For losses other than "squared", or an alpha for each output.
        """
        X = self._coordinates(X)
        posterior, unit = self._known("predict_average")
        mean = self._scores(X).mean(0)
        with computing(self.device):
            std = unit * math.sqrt(posterior.variance_of_mean(X))
        return (float(mean), float(std[0])) if mean.ndim == 0 else (mean, std)

    def predict_interval(self, X, coverage=0.9):
        """Lower and upper ends of intervals that hold a new target with probability ``coverage``::

            quantiles over i of  c + h₋ᵢ(x) ∓ |y_i − c − h₋ᵢ(x_i)| √(n/(n − q)) σ(x)/σ₋ᵢ(x_i)

        This is the jackknife+, where h₋ᵢ is h without the i-th sample (from one factorisation).
        Residuals are in units of the standard deviation σ of the target, which ``predict`` returns
        (σ₋ᵢ without the sample), so that intervals are wider where samples are few. If samples are
        exchangeable and the hyperparameters chosen on others, the probability is about ``coverage``
        whatever the distribution (at least 2·coverage − 1 by Theorem 1 of Barber et al. (2021),
        if c and σ(x) were also computed without sample i). If the
        hyperparameters are tuned on the same samples, residuals are too small; the factor
        √(n/(n − q)), q being ``n_parameters_`` (n/2 at most), corrects this in the way of degrees
        of freedom (measured: benchmarks/intervals.py).
        Rows with missing cells are compared with samples that have some, and complete rows with
        complete samples (Mondrian conformal prediction), so that each kind has the coverage, on
        average over the cells that are missing. If ``fit`` was given groups, the whole group of a
        sample is left out with it, and groups count alike, whatever their sizes: the intervals are
        those of a row of a new group (Dunn, Wasserman, Ramdas 2023, pooling by groups).

        Rows must be exchangeable: of a series that goes on, they hold less than ``coverage``.

        Parameters
        ----------
        X : array-like (k, d)
        coverage : float, default 0.9

        Returns
        -------
        ndarray (k, 2), or (k, p, 2) for p outputs

        Raises
        ------
        ValueError
            For a coverage that is not between 0 and 1, or that needs more samples (groups) than
            there are; for losses other than "squared", or an alpha for each output.

        References
        ----------
        Barber, Candès, Ramdas, Tibshirani (2021), Predictive Inference with the Jackknife+, Annals
        of Statistics 49, Theorem 1. Lei, G'Sell, Rinaldo, Tibshirani, Wasserman (2018),
        Distribution-Free Predictive Inference for Regression, JASA 113, Section 5.2 (residuals in
        units of a spread that depends on x). Vovk, Gammerman, Shafer (2005), Algorithmic Learning
        in a Random World, Section 4.5 (categories).
        """
        if not (isinstance(coverage, Real) and 0 < coverage < 1):
            raise ValueError(f"coverage={coverage!r} must be a number between 0 and 1")
        if isinstance(self.cv, TimeSeriesSplit):
            warn_explained(
                "predict_interval takes rows as exchangeable, and cv=TimeSeriesSplit says that "
                "they are in the order of time: of a series that goes on, its intervals hold less "
                "than coverage",
                UserWarning, stacklevel=2,
            )
        X = self._coordinates(X)
        scores, (posterior, _) = self._scores(X), self._known("predict_interval")
        left, (n, p) = self._left_out, self._left_out.residuals.shape
        least = math.ceil(coverage / (1 - coverage) - 1e-9)
        units = len(np.unique(left.groups))
        if units < least:
            kind = "samples of positive weight" if units == n else "groups"
            raise ValueError(
                f"coverage={coverage!r} needs at least {least} {kind}, and there are {units}: "
                "lower it"
            )
        ends = np.empty((len(X), p, 2))
        centers = scores.reshape(len(X), p)
        freedom = max(n - self.n_parameters_, 0.5 * n) / n
        sizes = np.abs(left.residuals) / np.sqrt(freedom * left.variance)[:, None]
        for group, alike in self._groups_of(X, posterior.X, least):
            _, member, sizes_of = np.unique(
                left.groups[alike], return_inverse=True, return_counts=True
            )
            weights = 1 / ((len(sizes_of) + 1) * sizes_of[member])
            with computing(self.device):
                for block in _blocks(len(group), n * p):
                    rows = group[block]
                    known = posterior.rows(X[rows])
                    spread = np.sqrt(posterior.variance(X[rows], known))[:, None, None]
                    changes = left.changes(posterior.smoother(known))
                    without = (centers[rows, None] - changes)[:, alike]
                    reach = spread * sizes[alike]
                    ends[rows, :, 0] = -_quantile(reach - without, weights, coverage)
                    ends[rows, :, 1] = _quantile(without + reach, weights, coverage)
        return ends.reshape(*scores.shape, 2)

    def _groups_of(self, X, samples, least):
        """(rows of X, the samples (n,) that are like them) with and without missing cells.

        Without ``least`` samples of their kind, rows are compared with all.
        """
        new, old = self._table.with_gaps(X), self._table.with_gaps(samples)
        for gap in (False, True):
            rows, alike = np.flatnonzero(new == gap), old == gap
            if not len(rows):
                continue
            if len(np.unique(self._left_out.groups[alike])) < least:
                alike = np.ones(len(old), bool)
                if gap:
                    kind = "samples" if len(np.unique(self._left_out.groups)) == len(old) else (
                        "groups")
                    warn_explained(
                        f"{len(rows)} rows have missing cells, and fewer than {least} {kind} of "
                        "fit had any: the intervals of these rows are computed as for complete "
                        "rows, and may be too narrow",
                        UserWarning, stacklevel=3,
                    )
            yield rows, alike

    def _keep_samples(self, X, y, weight, groups, fitted, whole):
        """Store what the posterior needs, and the ``noise_``, for h at the samples (n, p)."""
        self._posterior, self._samples = None, None
        if not self._is_ridge():
            return
        used = weight > 0
        targets = (y - self.intercept_).reshape(len(y), -1)[used]
        rest, weight = targets - fitted[used], weight[used]
        # n·noise² = Σ w y (y − h) = alpha yᵀ(K + alpha W⁻¹)⁻¹y, which is never negative.
        noise = np.sqrt(np.maximum(np.sum(weight[:, None] * targets * rest, 0) / len(rest), 0))
        self.noise_ = float(noise[0]) if self.dual_coef_.ndim == 1 else noise
        points = self.X_fit_ if whole and used.all() else np.array(X[used])
        if groups is not None:
            groups = np.unique(np.asarray(groups)[used], return_inverse=True)[1]
        self._samples = points, weight, rest, groups, whole

    def _is_ridge(self):
        """Whether h is a kernel ridge regression, with one alpha for all outputs."""
        squared = self.loss == "squared" or isinstance(self.loss, Squared)
        return squared and np.ndim(self.alpha_) == 0

    def _known(self, wanted):
        """The posterior, and the standard deviations s of its unit, (p,)."""
        if not self._is_ridge():
            raise ValueError(
                f"{wanted} needs loss='squared' (it is {self.loss!r}) and one alpha for all "
                "outputs: for other losses, fit two with loss='quantile'"
            )
        if self._posterior is None:
            samples, weight, rest, groups, whole = self._samples
            with computing(self.device):
                if whole:
                    made = Whole(self.kernel_, samples, weight, self.alpha_)
                else:
                    made = Spanned(self.kernel_, self.X_fit_, samples, weight, self.alpha_)
                self._left_out = LeftOut(made, rest, groups)
            self._posterior = made
        return self._posterior, np.atleast_1d(self.noise_) / math.sqrt(self.alpha_)


def _quantile(ends, weights, coverage):
    """The smallest of ``ends`` (k, n, p), along n, up to which weights sum to ``coverage``: (k, p).

    The weights (n,) sum to less than 1: what is missing is the weight of a new sample.
    """
    if np.ptp(weights) == 0:
        place = math.ceil(coverage / weights[0] - 1e-9) - 1
        return np.partition(ends, place, axis=1)[:, place]
    order = np.argsort(ends, axis=1)
    place = (np.cumsum(weights[order], axis=1) >= coverage - 1e-9).argmax(1)
    return np.take_along_axis(np.take_along_axis(ends, order, 1), place[:, None], 1)[:, 0]


def _blocks(count, width):
    """Slices of ``count`` points, as many together as arrays of this width allow."""
    size = max(1, ENTRIES // width)
    return [slice(start, start + size) for start in range(0, count, size)]
