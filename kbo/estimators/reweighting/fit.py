"""Base class of the sample-reweighting estimators: split, learn the weights, refit."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from ...optimizers import LBFGS
from ...result import Status
from ...search.verbs import minimize
from ...status import warn_explained
from .._common.scale import Units
from .._common.shown import ShownFit
from .._common.solver import as_solver
from .._common.start import start_kernel
from .._common.validation import computing
from .weights import weighting_problem

ALPHA_PER_WEIGHT = 0.01  # smooth enough that a wrong label is outvoted by its neighbours


def final_has(name):
    """A condition for ``available_if``: the final estimator has a method of this name."""
    return lambda self: hasattr(getattr(self, "estimator_", self._final()), name)


class SampleReweighting(MetaEstimatorMixin, ShownFit, BaseEstimator):
    """Parameters, checks and fit of the reweighting classifier and regressor."""

    __metadata_request__fit = {"trusted": True}  # noqa: RUF012

    def __init__(
        self, estimator=None, *, kernel="gaussian", lengthscale=None, alpha=None, penalty=0.01,
        trusted_fraction=0.1, max_iter=50, tol=1e-4, solver="auto", n_centers=None,
        random_state=None, device=None, callback=None, verbose=0,
    ):
        self.estimator = estimator
        self.kernel = kernel
        self.lengthscale = lengthscale
        self.alpha = alpha
        self.penalty = penalty
        self.trusted_fraction = trusted_fraction
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.n_centers = n_centers
        self.random_state = random_state
        self.device = device
        self.callback = callback
        self.verbose = verbose

    def _check(self):
        positive = {"tol": self.tol, "trusted_fraction": self.trusted_fraction}
        if self.alpha is not None:
            positive["alpha"] = self.alpha
        if not (isinstance(self.penalty, Real) and np.isfinite(self.penalty) and self.penalty >= 0):
            raise ValueError(f"penalty={self.penalty!r} must be a number of at least 0")
        for name, value in positive.items():
            if not (isinstance(value, Real) and np.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value!r} must be a positive number")
        if self.trusted_fraction >= 1:
            raise ValueError(f"trusted_fraction={self.trusted_fraction!r} must be below 1")
        if not (isinstance(self.max_iter, Integral) and self.max_iter >= 1):
            raise ValueError(f"max_iter={self.max_iter!r} must be an integer of at least 1")
        if not has_fit_parameter(self._final(), "sample_weight"):
            raise ValueError(
                f"estimator={self.estimator!r} must have a fit method that takes sample_weight"
            )

    def _split(self, n, trusted, labels):
        """The mask (n,) of trusted samples, given or drawn; ``labels`` stratify the draw."""
        if n < 2:
            raise ValueError(
                f"n_samples={n} is too few: at least one trusted sample and one other are needed"
            )
        if trusted is None:
            random = check_random_state(self.random_state)
            size = min(max(1, round(self.trusted_fraction * n)), n - 1)
            if labels is not None and (np.bincount(labels).min() < 2 or size < labels.max() + 1):
                labels = None  # some class has too few samples to stratify
            rows = train_test_split(
                np.arange(n), test_size=size, stratify=labels, random_state=random
            )[1]
            mask = np.zeros(n, bool)
            mask[rows] = True
        else:
            mask = np.asarray(trusted)
            if mask.shape != (n,) or mask.dtype != bool:
                raise ValueError(
                    f"trusted has shape {mask.shape} and dtype {mask.dtype}: give one boolean for "
                    f"each of the {n} samples"
                )
        if mask.all() or not mask.any():
            raise ValueError(
                "some samples, but not all, must be trusted (and have weight): the others' weights "
                "are learned from them"
            )
        return mask

    def _learn(self, X, targets, weight, mask):
        """σ(ω) of the doubtful samples, such that their weighted fit predicts the trusted ones."""
        sides = [(X[m], targets[m], weight[m]) for m in (~mask, mask)]
        kernel = start_kernel(self.kernel, self.lengthscale, Units.of(X, weight), spreads=0.5)
        alpha = ALPHA_PER_WEIGHT * sides[0][2].sum() if self.alpha is None else self.alpha
        seed = check_random_state(self.random_state).randint(2**31)
        self.history_ = []
        with computing(self.device):
            problem, start = weighting_problem(kernel, alpha, self.penalty, *sides)
            result = minimize(
                problem, start, solver=as_solver(self.solver, self.n_centers, seed),
                optimizer=LBFGS(self.max_iter, tol=0.0, ftol=self.tol),
                callback=self._record, progress=self.verbose > 0, throw=False,
            )
        if not result.status.usable:
            raise ValueError(f"the weights cannot be learned: {result.status}")
        if not result.status.ok and result.status is not Status.STOPPED:
            warn_explained(str(result.status), ConvergenceWarning, stacklevel=4)
        self.criterion_start_, self.criterion_ = self.history_[0]["value"], float(result.value)
        self.n_iter_ = max(1, result.n_steps)
        return expit(result.omega[: len(sides[0][0])])

    def _record(self, step):
        entry = {"value": step.value, "grad_norm": step.grad_norm, "seconds": step.seconds}
        self.history_.append(entry)
        return self.callback is not None and bool(self.callback(dict(entry)))

    def _fit_weighted(self, X, y, targets, weight, trusted, labels):
        used = weight > 0
        mask = np.zeros(len(X), bool)
        picked = None if trusted is None else np.asarray(trusted)
        if picked is not None and picked.shape == used.shape:
            picked = picked[used]
        mask[used] = self._split(used.sum(), picked, None if labels is None else labels[used])
        self.trusted_ = mask
        doubtful = used & ~mask
        self.sample_weight_ = np.ones(len(X))
        parts = (part[used] for part in (X, targets, weight, mask))
        self.sample_weight_[doubtful] = self._learn(*parts)
        self.estimator_ = clone(self._final())
        self.estimator_.fit(X, y, sample_weight=weight * self.sample_weight_)
        return self

    def predict(self, X):
        """The final estimator's predictions, (k,) or (k, p), of rows X (k, d)."""
        check_is_fitted(self)
        return self.estimator_.predict(validate_data(self, X, reset=False, dtype=np.float64))
