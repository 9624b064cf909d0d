"""Kernel regression that tunes itself."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin

from ... import losses
from .._common.table import fit_table
from .._common.validation import check_size, check_weights, refuse_negative, refuse_text
from .fit import KernelBilevelBase
from .losses import OfTheMean, best_constant, spread_of
from .predicting import Predicting
from .robust import RobustScales


class KernelBilevelRegressor(
    Predicting, RobustScales, MultiOutputMixin, RegressorMixin, KernelBilevelBase
):
    """Kernel regression whose hyperparameters are tuned by hypergradient inside ``fit``.

    For folds f, in whose place ``criterion`` may put something else::

        h_f = argmin_h Σ_{i∈train_f} w_i ℓ(c + h(x_i), y_i) + (alpha/2) ‖h‖²_k
        L   = mean_f mean_{j∈test_f} ℓ_out(c + h_f(x_j), y_j)        minimised over alpha, k, ℓ

    Parameters
    ----------
    kernel : str, list of str, kbo.kernels.Kernel or callable, default "auto"
        A name ("gaussian", "laplacian", "matern12", "matern32", "matern52",
        "rational_quadratic", "linear", "polynomial"), a list of names (a mixture with tuned
        weights), a kernel with its own start values, or a JAX function k(x, z). "auto" is the
        mixture of "matern32" and "laplacian", of features transformed by kbo.kernels.Warped: a
        smooth kernel plus a rough one in which features interact little, whose shares the
        criterion decides, and for each numeric feature a curve such as a logarithm or an
        exponential, with a tuned skew. So many numbers are chosen by the marginal likelihood only:
        where ``criterion`` is another one, "auto" is "matern32".
    loss : str, kbo.losses.Loss or callable, default "squared"
        The inner loss ℓ: "squared", "huber", "quantile", "poisson" (log link: ``predict``
        returns the mean), a Loss, or a callable loss(omega, prediction, target), convex in the
        prediction. The scales of "huber" and "quantile" start from the robust spread of the
        held-out residuals at the start, so that the size of outliers does not matter. "quantile"
        is the pinball loss times the spread of y; alpha is then free of units.
    outer_loss : str, Loss, callable or None
        ℓ_out, with parameters held at their start values; None means the inner loss. Robust losses
        given by name see y clipped to six robust standard deviations around its median. With
        loss="poisson" the outer loss judges the mean, as ``predict`` returns it.
    quantile : float, default 0.5
        The level of loss="quantile".
    alpha : float or array (p,), default 0.01
        Start value of the ridge, in KernelRidge's convention (shared by all folds). With
        loss="squared" and folds it may be an array with one ridge for each of p outputs.
        The search starts at the best of ten points: the given start, and .1, 10 or 100 times alpha
        combined with .5, 1.5 or 4 times the start of the lengthscales (with a loss that is not
        squared: alpha or 100·alpha).
    lengthscale : float, array (d,) or None
        Start value, in the units of X, for kernels given by name. None means √d times the spread of
        each feature: its standard deviation after clipping to six robust standard deviations
        around the median, and for a dummy of any frequency half the distance of its two values.
        Predictions do not depend on the unit or origin of a feature, and a feature that is
        constant in ``fit`` is ignored (its ``lengthscale_`` is infinite).
    ard : bool or array of int (d,), default True
        For kernels given by name. True: one lengthscale per feature, so that irrelevant features
        are switched off; neighbouring columns of dummies that stand for one category share it (see
        the notes). False: one tuned factor for all. Integers, one for each feature: features with
        the same integer share one tuned factor of their starts (within each of ``groups``).
    groups : None or array-like (d,)
        A label for each feature. h is then a sum of functions of one group of features each, with
        kernels of the given name and tuned weights, so that each group has its own ridge. For
        kernel="linear" this is ridge regression with group-wise (banded) ridges.
    categorical_features : "from_dtype", or names, places or a mask (d,) of columns of X
        Columns that hold levels, of which any two are equally far apart. "from_dtype" takes those
        of a DataFrame that are categorical or have cells of text. See the notes.
    tune : None, str or iterable of str
        Names of the parameters to tune: "alpha", "lengthscale", "scale" (weights of mixtures and
        groups), "skew", "period", "exponent", "offset", "delta", "width", "centers" (positions of
        centres, worth it if they are few), or the names of the numbers of a user-defined kernel or
        loss. Names that the kernel and loss do not have are refused. None tunes all but the
        centres, () nothing.
    cv : None, int, splitter, iterable of splits or "loo"
        None or a number means shuffled folds, 5 by default; "loo" means criterion="loo". For rows
        in the order of time give sklearn.model_selection.TimeSeriesSplit().
    criterion : {"auto", "cv", "loo", "gcv", "marginal_likelihood", "complexity"}
        The criterion that is minimised. "cv": the outer loss over the folds of ``cv``. "loo": the
        leave-one-out outer loss, from one factorisation (also used for more than five folds).
        Without folds, for the squared loss: GCV, MarginalLikelihood, or NystromComplexity (with
        solver="nystrom") of kbo.criteria. "auto" is the marginal likelihood where it can be
        (squared loss, solver="auto" or "exact", one alpha, samples that count alike, targets that
        vary) and neither ``cv``, ``groups``, an outer loss nor standard errors are asked for;
        otherwise it is "cv". The likelihood is that of 2,000 samples at most, drawn at random
        (``n_tuned_``); the final fit is on all. "auto" checks the minimum, unless ``cv`` is a
        splitter: of the ends of the search's stages (a common factor for all lengthscales; one for
        each; curves too), and of one by leaving one out with a common factor and curves, that with
        the lowest L exp(q/n) is kept (``kept_``). L is the mean of the loss on other folds and the
        leave-one-out loss (the former, if folds were searched); q numbers are tuned.
    prior : float, default 1.0
        The strength of a prior that draws the logarithms of the lengthscales to their mean (and,
        where ``lengthscale`` is None, that mean to 1 above its start): with few samples a criterion
        of many lengthscales is overfitted easily. They are tuned with a common factor first. Skews
        are drawn to 1, and scales to their start. 0 is no prior; 1000 is the most.
    max_iter : int, default 100
        Maximal number of accepted steps of the search.
    tol : float, default 2e-4
        The search stops when each of two consecutive steps lowers the criterion by at most this
        fraction (the marginal likelihood of n samples: by at most tol·n/2).
    max_time : float or None
        Seconds after which no further evaluation is begun. The best iterate is kept, with a warning
        that says what was left undone. With 1,024 samples or more the search begins on 512 of
        them, and ends there if an evaluation on all samples would not fit into the time left
        (``criterion_`` and ``history_`` are then of the 512). The final fit takes extra time.
    n_restarts : int, default 0
        Number of further searches, from lengthscales divided by 2, 4, …; the best end is kept.
    solver : {"auto", "exact", "nystrom", "falkon", "full_cg"} or kbo.solvers.Solver
        "auto" is exact up to 3,000 samples and works in the span of ``n_centers`` points above.
    n_centers : int or None
        The number of points, drawn uniformly, that span the model with "auto", "nystrom" and
        "falkon"; None means 10√n. Solvers of kbo.solvers can choose them in other ways (k-means++,
        leverage scores, …).
    random_state : None, int or RandomState
        Shuffles the folds when ``cv`` is None or an int (None always in the same way) and draws the
        centres.
    device : None, "cpu" or "gpu"
    callback : callable or None
        Called with a dict at the start and after each step; a true return value stops the search.
    checkpoint : path or None
        A file from which a killed ``fit`` with the same arguments resumes exactly; restarts
        append .1, .2, … to its name.
    error_score : "raise" or number
        "raise": an error if a step has no finite criterion, or the search fails. A number: such
        steps are rejected with a warning; if no criterion is finite at all, the start is kept.
    standard_errors : bool, default False
        Whether to compute ``standard_errors_`` (for the criteria "cv" and "loo"), at the cost of
        one hypergradient for each fold and two for each number tuned.
    verbose : int
        Positive values show a progress bar.

    Attributes
    ----------
    alpha_, kernel_, lengthscale_, intercept_
        The tuned ridge, the kernel (with NumPy parameters), its lengthscale if it has one ((d,)
        for kernels given by name, whatever ``ard`` is; of a mixture the harmonic mean, weighted by
        the scales of its parts), and c.
    group_alpha_ : ndarray (G,)
        With ``groups``, the ridge of each group, in the order of the sorted labels.
    standard_errors_ : dict
        Standard errors of the criterion over the folds, and of the logarithm of each number tuned,
        by name (for lengthscales, of each tuned factor); see kbo.standard_errors.
    dual_coef_, X_fit_ : ndarray (n,) or (n, p), or (M,) or (M, p); ndarray (n, d) or (M, d)
        The coefficients, and the points that they belong to: the samples, or the centres.
    solver_, status_ : str
        The solver that was used, and how the search ended.
    loss_parameters_, outer_parameters_ : dict
        Parameters of the losses, tuned or fixed.
    noise_ : float, or ndarray (p,)
        Standard deviation of the noise of a target of weight one, in the likeliest Gaussian process
        with the tuned kernel and alpha. For the squared loss and one alpha.
    criterion_, criterion_start_ : float, where something is tuned
        L at the end (never above its value at the start) and at the start, as they are minimised,
        with the prior P: L exp(2P/n) where L is a mean of losses that are never negative, L + P for
        the marginal likelihood, else L plus P/n times the size of L at the start. The end is
        optimistic: see ``cv_loss_``.
    cv_loss_ : float
        An estimate of the outer loss (half the squared error, by default) on new samples: its mean
        over three shuffled fivefolds other than those of the search (one, where a fold costs more
        than one factorisation; over the folds of ``cv`` if that is a splitter), at the tuned
        parameters and without the prior. It is computed on the ``n_tuned_`` samples, or on 512 if
        ``max_time`` was used up.
    kept_ : str
        With criterion="auto", the end that was kept: "common lengthscale", "no curves",
        "leave-one-out", "marginal likelihood", or "own lengthscales" of a search by folds.
    history_ : list of dict
        The arguments of ``callback``: the starts and the accepted steps, in order, of the search
        whose end was kept.
    n_tuned_, n_parameters_ : int
        On how many samples the criterion is evaluated; how many numbers are tuned (in the stage
        that is kept).
    n_iter_, n_evaluations_, n_splits_ : int
    columns_ : ndarray (D,) of int
        The column of X that each coordinate of ``X_fit_`` stands for.
    is_categorical_ : ndarray (d,) of bool
        Which columns of X hold levels.
    n_features_in_, feature_names_in_

    Notes
    -----
    X may be a DataFrame as it is: numbers, dates (as days), categories and text. A category has one
    lengthscale, not one for each level; a level that ``fit`` has not seen is equally far from all
    (1/√2 of their distance), and levels beyond half the rows (but 100 to 1,000) are one, the
    rarest. A missing level is a level; a missing number is at the median in its column, one spread
    away from known ones (if the column had gaps in ``fit``). A number more than 100 spreads from
    the centre is moved to 100·(1 + log(spreads/100)) of them. Neighbouring columns of two values
    each are one category if each row has the higher value in exactly one of them, or if it has it
    in at most one, where of independent columns two would have it in at least 10 rows.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from kbo import KernelBilevelRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = KernelBilevelRegressor().fit(X[:150], y[:150])
    >>> bool(model.criterion_ < model.criterion_start_)
    True
    """

    _log_criterion = True

    def __init__(
        self, kernel="auto", *, loss="squared", outer_loss=None, quantile=0.5, alpha=0.01,
        lengthscale=None, ard=True, groups=None, categorical_features="from_dtype",
        tune=None, cv=None, criterion="auto", prior=1.0, max_iter=100, tol=2e-4,
        max_time=None, n_restarts=0, solver="auto", n_centers=None, random_state=None,
        device=None, callback=None, checkpoint=None, error_score=np.nan, standard_errors=False,
        verbose=0,
    ):
        self.kernel = kernel
        self.loss = loss
        self.outer_loss = outer_loss
        self.quantile = quantile
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
        """Tune on the folds, then fit on all samples.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, p)
        sample_weight : array-like (n,), optional
            A weight of k means k repetitions, in the inner and in the outer loss.
        groups : array-like (n,), optional
            Groups of samples (not of features, as in the constructor). Folds keep a group together
            (if ``cv`` is a splitter, this one sees them), and ``predict_interval`` leaves it out.

        Returns
        -------
        self
        """
        self._check_parameters()
        refuse_text(y)
        self._table, X, y, weight = fit_table(
            self, X, y, self.categorical_features, partial(check_weights, sample_weight),
            multi_output=True, y_numeric=True,
        )
        y = check_size(y.astype(np.float64))
        if np.ndim(self.alpha):
            self._check_alphas(y)
        self._unit = spread_of(y, weight)
        inner, outer = self._losses()
        self._log_link = isinstance(inner, losses.Poisson)
        if self._log_link:
            refuse_negative(y)
        if isinstance(outer, losses.Poisson) and not self._log_link:
            raise ValueError(
                "outer_loss='poisson' judges logarithms of means: it needs loss='poisson'"
            )
        if self._log_link and not isinstance(outer, losses.Poisson):
            outer = OfTheMean(outer)
        n_outputs = None if y.ndim == 1 else y.shape[1]
        return self._fit(
            X, (y, y), best_constant(inner, y, weight), n_outputs, inner, outer, weight, labels=y,
            classifier=False, groups=groups,
        )

    def _check_alphas(self, y):
        squared = self.loss == "squared" or isinstance(self.loss, losses.Squared)
        if not squared or np.shape(self.alpha) != y.shape[1:]:
            raise ValueError(
                f"alpha has shape {np.shape(self.alpha)}: give one number, or with loss='squared' "
                f"one for each output of y, whose shape is {y.shape}"
            )
        if self.groups is not None:
            raise ValueError("alpha must be one number where there are groups: each has its own")
        if self.criterion not in ("auto", "cv") or isinstance(self.cv, str):
            raise ValueError(
                "alpha must be one number for closed-form criteria: with one for each output use "
                "criterion='cv' and a number of folds"
            )
