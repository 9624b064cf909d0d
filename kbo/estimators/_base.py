"""What the regressor and the classifier share: fit = tune over folds, then refit on all data."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ..hypergradients.base import canonical, settled
from ..linalg import SingularSystem
from ..minimize import minimize
from ..optimizers import LBFGS
from ..result import BilevelError, Status
from ._criterion import make_criterion
from ._folds import bucket, pad
from ._model import Model, Tunable, named_numbers
from ._solver import as_solver, learning_centers
from ._start import (
    ard_labels,
    group_columns,
    input_scale,
    start_kernel,
    tied_entries,
    tuned_names,
)
from ._tuning import better_start, errors_by_name
from ._validation import computing
from ._values import values_at

OPTIONAL_ATTRIBUTES = (
    "lengthscale_", "group_alpha_", "criterion_", "criterion_start_", "n_splits_",
    "standard_errors_",
)


class KernelBilevelBase(BaseEstimator):
    """Parameters, validation and the fit of both estimators."""

    _log_criterion = False  # whether a criterion that is never negative is minimised in logs

    # -- fit ------------------------------------------------------------------------------------

    def _check_parameters(self):
        checks = {
            "tol": (self.tol, Real, 0, False),
            "max_iter": (self.max_iter, Integral, 1, True),
            "n_restarts": (self.n_restarts, Integral, 0, True),
        }
        for name, (value, kind, least, inclusive) in checks.items():
            good = isinstance(value, kind) and np.isfinite(value)
            good = good and (value >= least if inclusive else value > least)
            if not good:
                bound = "at least" if inclusive else "greater than"
                raise ValueError(f"{name}={value!r} must be a number {bound} {least}")
        alpha = np.asarray(self.alpha)
        if alpha.dtype.kind not in "fiu" or not (np.isfinite(alpha) & (alpha > 0)).all():
            raise ValueError(f"alpha={self.alpha!r} must be positive")
        if self.max_time is not None and not (
            isinstance(self.max_time, Real) and self.max_time > 0
        ):
            raise ValueError(f"max_time={self.max_time!r} must be a positive number of seconds")
        if not (self.error_score == "raise" or isinstance(self.error_score, Real)):
            raise ValueError(f"error_score={self.error_score!r} must be 'raise' or a number")

    def _fit(
        self, X, targets, offset, n_outputs, inner, outer, sample_weight, labels, classifier,
        calibrate=False,
    ):
        """Tune over folds, refit on everything, and store what was learnt.

        Parameters
        ----------
        targets : pair of ndarray (n,) or (n, p)
            What the inner and what the outer loss compare predictions with.
        offset : ndarray () or (p,)
        inner, outer : Loss
        labels : ndarray
            What splitters see as y.
        calibrate : bool
            Whether the outer loss's parameters are tuned: right for a scale of the scores, which
            ``predict_proba`` applies; other parameters would game the criterion.
        """
        for name in OPTIONAL_ATTRIBUTES:  # of an earlier fit
            self.__dict__.pop(name, None)
        tune = tuned_names(self.tune)
        random = None if self.random_state is None else check_random_state(self.random_state)
        kernel = start_kernel(
            self.kernel, self.lengthscale, self.ard, X, sample_weight, self.groups
        )
        columns = ard_labels(self.ard, X.shape[1])
        with computing(self.device):
            model = Model(
                kernel=Tunable.of(kernel, tune, tied=tied_entries(kernel, columns)),
                inner_loss=Tunable.of(inner, tune, fixed=("quantile",)),
                outer_loss=Tunable.of(outer, tune if calibrate else ()),
                alpha=np.array(self.alpha, float),
                offset=offset,
                tune_alpha=tune is None or "alpha" in tune,
                n_outputs=n_outputs,
            )
            learn_centers = tune is not None and "centers" in tune
            searching = learn_centers or bool(jax.tree.leaves(model.start()))
            self.n_iter_, self.n_evaluations_, self.history_ = 1, 0, []
            self.status_ = Status.CONVERGED.name
            whole = _padded_problem(model, X, targets, sample_weight[None], sample_weight[None])
            seed = 0 if random is None else random.randint(2**31)
            solver = as_solver(self.solver, self.n_centers, seed)
            solver = solver.fixed(*canonical(whole, model.start()))
            self.solver_ = str(solver)
            if searching:
                criterion = make_criterion(
                    self.criterion, self.cv, X, labels, sample_weight, classifier, random,
                    whole.inner_loss, self.outer_loss, solver,
                )
                if self.standard_errors and self.criterion not in ("cv", "loo"):
                    raise ValueError(
                        f"standard_errors=True has no parts to compare with criterion="
                        f"{self.criterion!r}: use 'cv' or 'loo'"
                    )
                if criterion.n_splits is not None:
                    self.n_splits_ = criterion.n_splits
            if learn_centers:
                solver, model = learning_centers(solver, model, input_scale(X, sample_weight, True))
            omega = model.start()
            if searching:
                omega = self._search(model, criterion, X, targets, solver)
            self._refit(model, omega, whole, len(X), solver)
        return self

    def _search(self, model, criterion, X, targets, solver):
        """The best end of a search from the start, and from ``n_restarts`` others."""
        X, targets = X[criterion.order], tuple(target[criterion.order] for target in targets)
        problem = _padded_problem(model, X, targets, criterion.train, criterion.test)
        bounds = model.bounds(X, criterion.weight)
        best, rejected, self.n_evaluations_, self.history_ = None, 0, 0, []
        for k in range(self.n_restarts + 1):
            if k and not model.has_lengthscale:
                break  # every start would be the same
            start = model.shorter(k)
            if k == 0:
                method = criterion.method_for(problem.inner_data.size)
                at_start, start = better_start(model, method, problem, solver)
            result = self._minimize(model, criterion, problem, bounds, solver, k, start)
            self.n_evaluations_ += result.n_evaluations
            rejected += result.n_rejected
            if k == 0:
                moved = np.any(start.get("alpha", 0.0))
                self.criterion_start_ = at_start
                if self.history_ and not moved:  # as the search itself found it
                    self.criterion_start_ = self.history_[0]["value"]
            if best is None or result.value < best.value:
                best = result
            if result.status is Status.STOPPED:
                break
        self.n_iter_ = max(1, best.n_steps)
        self.status_ = best.status.name
        self.criterion_ = float(best.value)
        self._judge(best, rejected)
        if self.standard_errors and best.status.usable:
            method = criterion.method_for(problem.inner_data.size)
            try:
                self.standard_errors_ = errors_by_name(
                    model, problem, best.omega, solver, method, bounds
                )
            except BilevelError as error:
                if self.error_score == "raise":
                    raise
                warnings.warn(f"no standard errors: {error}", ConvergenceWarning, stacklevel=4)
        return best.omega

    def _judge(self, best, rejected):
        """Raise or warn where the search did not end as it should."""
        if self.error_score == "raise" and (rejected or not best.status.usable):
            raise ValueError(f"tuning failed: {best.failure or best.status}")
        if rejected and best.status.usable:
            warnings.warn(
                f"{rejected} steps without a finite criterion were rejected ({best.failure})",
                ConvergenceWarning, stacklevel=5,
            )
        if not best.status.ok and best.status is not Status.STOPPED:
            warnings.warn(str(best.status), ConvergenceWarning, stacklevel=5)

    def _minimize(self, model, criterion, problem, bounds, solver, restart, start):
        nonnegative = criterion.nonnegative
        if nonnegative is None:
            nonnegative = getattr(model.outer_loss.base, "nonnegative", False)
        log = self._log_criterion and nonnegative
        checkpoint = self.checkpoint
        if checkpoint is not None and restart:
            checkpoint = f"{checkpoint}.{restart}"
        return minimize(
            problem, start, bounds=bounds, throw=False, solver=solver,
            method=criterion.method_for(problem.inner_data.size),
            max_time=self._time_left(),
            optimizer=LBFGS(self.max_iter, tol=0.0, ftol=self.tol, log=log),
            callback=self._record(model, restart), progress=self.verbose > 0,
            checkpoint=checkpoint,
        )

    def _time_left(self):
        """Of max_time, for a restart what earlier searches left; every search may start."""
        used = self.history_[-1]["seconds"] if self.history_ else 0.0
        return None if self.max_time is None else self.max_time - used

    def _record(self, model, restart):
        earlier = self.history_[-1]["seconds"] if self.history_ else 0.0
        evaluations = self.n_evaluations_

        def record(step):
            kernel = model.kernel_at(step.omega)
            entry = {
                "restart": restart, "value": step.value, "grad_norm": step.grad_norm,
                "seconds": earlier + step.seconds, "evaluations": evaluations + step.evaluations,
                "alpha": self._alpha(model, step.omega),
                "lengthscale": getattr(kernel, "lengthscale", None),
            }
            self.history_.append(entry)
            return self.callback is not None and bool(self.callback(dict(entry)))

        return record

    @staticmethod
    def _alpha(model, omega):
        alpha = model.alpha * np.exp(omega.get("alpha", 0.0))
        return np.array(alpha) if np.ndim(alpha) else float(alpha)

    def _refit(self, model, omega, problem, n, solver):
        with settled(problem, omega, solver) as (restricted, at, fixed):
            try:
                solution = fixed.solve(restricted, at)
            except SingularSystem as error:
                raise ValueError(f"the final fit failed: {Status.SINGULAR}") from error
            anchors = getattr(restricted.space(at), "centers", restricted.inner_data.x[:n])
        if not solution.status.ok:
            warnings.warn(str(solution.status), ConvergenceWarning, stacklevel=5)
        self.X_fit_ = np.array(anchors)
        coefficients = np.array(solution.coefficients[0, : len(anchors)])
        self.dual_coef_ = coefficients[:, 0] if model.n_outputs is None else coefficients
        self.kernel_ = model.kernel_at(omega)
        self.alpha_ = self._alpha(model, omega)
        lengthscale = getattr(self.kernel_, "lengthscale", None)
        if lengthscale is not None:
            self.lengthscale_ = np.array(lengthscale)
        if self.groups is not None:
            numbers = named_numbers(self.kernel_)
            self.group_alpha_ = self.alpha_ / np.array([v for k, v in numbers if k == "scale"])
            self.lengthscale_ = np.empty(self.X_fit_.shape[1])
            lengths = [v for k, v in numbers if k == "lengthscale"]
            members = group_columns(self.groups, self.X_fit_.shape[1])
            for columns, length in zip(members, lengths, strict=True):
                self.lengthscale_[columns] = length
        self.intercept_ = np.array(model.offset)
        self.loss_parameters_ = _numbers(model.inner_loss, omega["inner"])
        self.outer_parameters_ = _numbers(model.outer_loss, omega["outer"])

    # -- predict --------------------------------------------------------------------------------

    def _scores(self, X):
        """offset + h(x), (k,) or (k, p)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        coefficients = self.dual_coef_.reshape(len(self.X_fit_), -1)
        values = values_at(self.kernel_, self.X_fit_, coefficients, X, self.device)
        return self.intercept_ + (values[:, 0] if self.dual_coef_.ndim == 1 else values)


def _padded_problem(model, X, targets, train, test):
    """The model's problem on a bucket's number of rows; those added have no weight."""
    size = bucket(len(X))
    extra = ((0, 0), (0, size - len(X)))
    goals = tuple(pad(target, size) for target in targets)
    return model.problem(pad(X, size), goals, np.pad(train, extra), np.pad(test, extra))


def _numbers(tunable, logs) -> dict:
    """The parameters of a loss as plain numbers, tuned or held."""
    return {name: np.array(leaf) for name, leaf in named_numbers(tunable.at(logs, np.exp))}
