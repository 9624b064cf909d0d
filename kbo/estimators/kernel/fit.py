"""Base class of the regressor and the classifier: tune over folds, then refit on all data."""

from __future__ import annotations

import contextlib
import time
from numbers import Integral, Real

import jax
import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ...linalg import SingularSystem
from ...losses import as_loss
from ...parameters import Tunable, named_numbers
from ...result import Status
from ...search.session import prepare
from ...solvers import Exact
from ...status import warn_explained
from .._common.predict import values_at
from .._common.shown import ShownFit
from .._common.solver import as_solver, learning_centers
from .._common.start import (
    chosen_kernel,
    group_columns,
    kernel_names,
    lengthscale_of,
    start_kernel,
    tied_entries,
)
from .._common.table import read_rows
from .._common.validation import check_groups, computing
from .._common.widths import Widths
from .criterion import criterion_name, leaves_open, make_criterion
from .model import Model
from .prior import KernelPrior
from .searching import Searching
from .task import padded_problem
from .tuning import tuned_names

SEEN = 2000  # samples that are tuned on at most; it costs n³, and needs no more
SEEN_BY_NEWTON = 1000  # of them where a fold is fitted by Newton's method, for each of K^⅓ classes
FEWEST = 3  # samples of a class, if it has them
STRONGEST = 1e3  # beyond, lengthscales are tied all the same, and exp(2P/n) overflows
OPTIONAL_ATTRIBUTES = (
    "lengthscale_", "group_alpha_", "criterion_", "cv_loss_", "criterion_start_", "n_splits_",
    "standard_errors_", "noise_", "kept_", "n_tuned_",
)


class KernelBilevelBase(Searching, ShownFit, BaseEstimator):
    """Validation, ``fit`` and scores of both estimators."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = True
        return tags

    # -- fit ------------------------------------------------------------------------------------

    def _check_parameters(self):
        checks = {
            "tol": (self.tol, Real, 0, False),
            "max_iter": (self.max_iter, Integral, 1, True),
            "n_restarts": (self.n_restarts, Integral, 0, True),
            "prior": (self.prior, Real, 0, True),
        }
        for name, (value, kind, least, inclusive) in checks.items():
            good = isinstance(value, kind) and not isinstance(value, bool) and np.isfinite(value)
            good = good and (value >= least if inclusive else value > least)
            if not good:
                bound = "at least" if inclusive else "greater than"
                raise ValueError(f"{name}={value!r} must be a number {bound} {least}")
        if self.prior > STRONGEST:
            raise ValueError(f"prior={self.prior!r} must be at most {STRONGEST:.0f}: use ard=False")
        alpha = np.asarray(self.alpha)
        good = alpha.dtype.kind in "fiu" and alpha.size > 0
        if not (good and (np.isfinite(alpha) & (alpha > 0)).all()):
            raise ValueError(f"alpha={self.alpha!r} must be positive and finite")
        if not (self.callback is None or callable(self.callback)):
            raise ValueError(f"callback={self.callback!r} must be callable or None")
        if self.max_time is not None and not (
            isinstance(self.max_time, Real) and self.max_time > 0
        ):
            raise ValueError(f"max_time={self.max_time!r} must be a positive number of seconds")
        if not (self.error_score == "raise" or isinstance(self.error_score, Real)):
            raise ValueError(f"error_score={self.error_score!r} must be 'raise' or a number")

    def _fit(
        self, X, targets, offset, n_outputs, inner, outer, sample_weight, labels, classifier,
        calibrate=False, groups=None,
    ):
        """Tune over folds, refit on all samples, and set the fitted attributes.

        Parameters
        ----------
        targets : pair of ndarray (n,) or (n, p)
            The targets of the inner and of the outer loss.
        offset : ndarray () or (p,)
        inner, outer : Loss
        labels : ndarray
            The y that splitters see.
        calibrate : bool
            Whether the outer loss's parameters are tuned. This is right for a scale of the scores,
            which ``predict_proba`` applies; tuning other parameters would lower the criterion
            without improving the model.
        groups : array-like (n,) or None
            The groups that splitters see.
        """
        self._begin()
        groups = check_groups(groups, X)
        random = None if self.random_state is None else check_random_state(self.random_state)
        units = self._table.units
        self.columns_, self.is_categorical_ = units.column, self._table.categorical
        criterion = criterion_name(self, inner, labels, sample_weight, groups)
        given = chosen_kernel(self.kernel, criterion == "marginal_likelihood")
        kernel = start_kernel(given, self.lengthscale, units, self.groups)
        judged = (outer,) if calibrate else ()
        tune = tuned_names(self.tune, kernel, inner, *judged)
        learn_centers = tune is not None and "centers" in tune
        widths = Widths.of(kernel, *X.shape, not (learn_centers or self.standard_errors))
        tied = widths.tied(kernel, tied_entries(self.ard, given, kernel, units))
        tunable, points, X = Tunable.of(widths.kernel(kernel), tune, tied), X, widths.points(X)
        own_start = self.lengthscale is None and kernel_names(self.kernel) is not None
        with computing(self.device), contextlib.ExitStack() as prepared:
            model = Model(
                kernel=tunable,
                inner_loss=Tunable.of(inner, tune),
                outer_loss=Tunable.of(outer, tune if calibrate else ()),
                alpha=np.array(self.alpha, float),
                offset=offset,
                prior=KernelPrior.of(tunable, self.prior, own_start, widths.used(tunable)),
                tune_alpha=tune is None or "alpha" in tune,
                n_outputs=n_outputs,
                widths=widths,
            )
            searching = learn_centers or bool(jax.tree.leaves(model.start()))
            self.n_iter_, self.n_evaluations_, self.n_parameters_, self.history_ = 1, 0, 0, []
            self.status_ = Status.CONVERGED.name
            on = lambda rows, model: padded_problem(  # noqa: E731
                model, X[rows], tuple(target[rows] for target in targets),
                sample_weight[None, rows], sample_weight[None, rows],
            )
            every, seed = slice(None), 0 if random is None else random.randint(2**31)
            solver = as_solver(self.solver, self.n_centers, seed)
            session = prepared.enter_context(prepare(on(every, model), model.start(), solver))
            self.solver_ = str(session.solver)
            seen, rows = session, every
            if searching:
                count = self._most_tuned(criterion, session.problem.inner_loss, n_outputs, groups)
                if np.count_nonzero(sample_weight) > count:
                    rows = some_rows(count, sample_weight, seed, labels if classifier else None)
                if np.isfinite(count) and not (rows is every and isinstance(session.solver, Exact)):
                    seen = prepared.enter_context(prepare(on(rows, model), model.start(), Exact()))
                self.n_tuned_ = len(X[rows])
                criterion = make_criterion(
                    criterion, self.cv, points[rows], labels[rows], sample_weight[rows], classifier,
                    random, session.problem.inner_loss, self.outer_loss, seen.solver, groups,
                )
                if self.standard_errors and self.criterion not in ("auto", "cv", "loo"):
                    raise ValueError(
                        f"standard_errors=True needs folds, which criterion={self.criterion!r} "
                        "does not have: use 'cv' or 'loo'"
                    )
                if criterion.n_splits is not None:
                    self.n_splits_ = criterion.n_splits
            if learn_centers:
                solver, model = learning_centers(session.solver, model, X, sample_weight)
                session = prepared.enter_context(prepare(on(every, model), model.start(), solver))
                seen = session
            if searching:
                omega, model = self._search(
                    model, criterion, X[rows], tuple(target[rows] for target in targets), seen,
                    classifier, groups,
                )
                session = session.of(on(every, model)).starting_at(omega)
            fitted = self._refit(model, session, len(X))
        self._keep_samples(points, targets[0], sample_weight, groups, *fitted)
        for text in self._said:  # a dict, so that each text is given once
            warn_explained(text, ConvergenceWarning, stacklevel=3)
        return self

    def _begin(self):
        """Forget an earlier fit, and start the clock."""
        for name in OPTIONAL_ATTRIBUTES:
            self.__dict__.pop(name, None)
        self._said = {}
        self._ends = np.inf if self.max_time is None else time.perf_counter() + self.max_time

    def _most_tuned(self, criterion, loss, n_outputs, groups):
        """How many samples are tuned on, with an exact solver; infinite where the user's choices
        ask for all.
        """
        if self.criterion != "auto":
            return np.inf
        if criterion == "marginal_likelihood":
            return SEEN
        if is_classifier(self) and leaves_open(self, groups) and self.max_time is None:
            K = n_outputs or 1
            few = SEEN if as_loss(loss).constant_curvature else int(SEEN_BY_NEWTON / K ** (1 / 3))
            return max(few, FEWEST * K)
        return np.inf

    def _refit(self, model, session, n):
        """Store the inner solution on all n samples at the first ω of the session.

        Returns h at the samples, (n, p), and whether its coefficients are of these samples.
        """
        omega, at = session.omega, session.first
        try:
            solution = session.solve()
        except SingularSystem as error:
            raise ValueError(f"the final fit failed: {Status.SINGULAR}") from error
        anchors = np.asarray(at.inner.x)[:n] if at.space.centers is None else at.space.centers
        if not solution.status.ok:
            self._warn(str(solution.status))
        self.X_fit_ = np.array(anchors[:, : model.widths.own])
        coefficients = np.array(solution.coefficients[0, : len(anchors)])
        self.dual_coef_ = coefficients[:, 0] if model.n_outputs is None else coefficients
        self.kernel_ = model.kernel_at(omega)
        self.alpha_ = model.alpha_at(omega)
        lengthscale = lengthscale_of(self.kernel_)
        if self.groups is not None:
            numbers = named_numbers(self.kernel_)
            self.group_alpha_ = self.alpha_ / np.array([v for k, v in numbers if k == "scale"])
            lengthscale = np.empty(self.X_fit_.shape[1])
            lengths = [v for k, v in numbers if k == "lengthscale"]
            members = group_columns(self.groups, self._table.units)
            for columns, length in zip(members, lengths, strict=True):
                lengthscale[columns] = length
        if lengthscale is not None:
            first = np.unique(self.columns_, return_index=True)[1]
            each = np.shape(lengthscale) == self.columns_.shape
            self.lengthscale_ = np.array(lengthscale[first] if each else lengthscale)
        self.intercept_ = np.array(model.offset)
        self.loss_parameters_ = _numbers(model.inner_loss, omega["inner"])
        self.outer_parameters_ = _numbers(model.outer_loss, omega["outer"])
        return np.array(solution.h_inner)[0, :n], at.space.centers is None

    def _keep_samples(self, X, targets, weight, groups, fitted, whole):
        """Store what predictions need besides h: here nothing."""

    # -- predict --------------------------------------------------------------------------------

    def _coordinates(self, X):
        """The rows of a table X as points of the kernel."""
        check_is_fitted(self)
        return read_rows(self, self._table, X)

    def _scores(self, X):
        """offset + h(x), (k,) or (k, p), at points."""
        coefficients = self.dual_coef_.reshape(len(self.X_fit_), -1)
        widths = Widths.of(self.kernel_, *self.X_fit_.shape)
        kernel, anchors, X = widths.kernel(self.kernel_), *map(widths.points, (self.X_fit_, X))
        values = values_at(kernel, anchors, coefficients, X, self.device)
        return self.intercept_ + (values[:, 0] if self.dual_coef_.ndim == 1 else values)


def some_rows(count, weight, seed, labels=None):
    """Places of ``count`` samples of positive weight, in their order.

    With ``labels`` their shares are those of all samples, but none has fewer than FEWEST, or all.
    """
    used = np.flatnonzero(weight > 0)
    order = np.random.default_rng(seed).permutation(used)
    if labels is not None:
        _, index, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
        rank = np.empty(len(order))
        for label, size in enumerate(sizes):
            rank[index == label] = np.arange(size)
        order = order[np.argsort(np.where(rank < FEWEST, 0.0, rank / sizes[index]), kind="stable")]
    return np.sort(order[:count])


def _numbers(tunable, logs) -> dict:
    """The parameters of a loss as NumPy numbers by name, tuned or fixed."""
    return {name: np.array(leaf) for name, leaf in named_numbers(tunable.at(logs, np.exp))}
