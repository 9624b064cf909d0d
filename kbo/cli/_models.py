"""The models that ``kbo tune`` fits: the tuned one, its start, and the usual alternative."""

from __future__ import annotations

import sys
import warnings

import numpy as np
from scipy.stats import skew
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from ..estimators import KernelBilevelClassifier, KernelBilevelRegressor, PowerTargetRegressor
from ._rows import InTime
from ._text import say

TUNED, START = "tuned by kbo", "start"
MANY_SCORES = 8000  # samples times classes beyond which the softmax likelihood takes minutes
SKEWED = 1.0  # skewness of a target beyond which its powers are compared
WORDS = {1.0: "y", 0.5: "√y", 0.0: "log y"}


def tuned_model(args, data, y, labels):
    """The model to tune, for the targets y of the training rows.

    Of a target that is never negative and skewed, it is one of the power that predicts it best.
    """
    powers = _powers(args, data, y)
    model = _estimator(args, data, y, labels)
    if powers is None:
        return model.set_params(max_time=args.max_time)
    tested = PowerTargetRegressor(model, **powers)
    searches = np.size(tested.powers)
    if args.max_time is not None:
        each = float(f"{args.max_time / searches:.3g}")
        model.set_params(max_time=each)
        if searches > 1:
            say(f"--max-time: {each:g} s for each of {searches} powers of the target")
    return tested


def start_of(tuned):
    """The start of the search that a fitted model is the end of: of the same power."""
    start = lambda model: clone(model).set_params(tune=(), verbose=0)  # noqa: E731
    if isinstance(tuned, PowerTargetRegressor):
        return PowerTargetRegressor(start(tuned.regressor), powers=tuned.power_)
    return start(tuned)


def core(model):
    """The fitted kernel model: of the target, or of a power of it."""
    return model.regressor_ if isinstance(model, PowerTargetRegressor) else model


def settled(model):
    """The fitted model, without the powers that were compared if the target itself was the best."""
    return core(model) if power_of(model) == 1 else model


def power_of(model):
    """The power of the target that a fitted model is of."""
    return model.power_ if isinstance(model, PowerTargetRegressor) else 1.0


def errors_of_powers(model):
    """The mean squared errors of the target, left out, by the powers that were compared."""
    return model.errors_ if isinstance(model, PowerTargetRegressor) else {}


def word_of(power):
    """A power of the target y, as it is printed."""
    return WORDS.get(power, f"y^{power:g}")


def of_power(report):
    """What is added to the name of a number in units of the power that is modelled."""
    return "" if report["power"] == 1 else f" of {word_of(report['power'])}"


def words_of_powers(report):
    """A line that says which power is modelled, if any were asked for, and why."""
    errors = {word_of(power): error for power, error in report["power_errors"].items()}
    if not errors:
        return ""
    why = ", ".join(f"{word} {error:.4g}" for word, error in errors.items())
    return f"the model is of {word_of(report['power'])}; mean squared error of y, left out: {why}\n"


def _powers(args, data, y):
    """Arguments of PowerTargetRegressor; None to model the target itself."""
    negative = not data.classification and np.min(data.y) < 0
    refused = {
        "--task regression is needed": data.classification,
        f"leave out --loss {args.loss}": args.loss not in (None, "squared"),
        "the target has several columns": np.ndim(y) > 1,
        "the target has negative values": negative,
    }
    if args.power == "auto":
        in_time = isinstance(data.rows, InTime)  # errors left out would be of models of later rows
        return {} if not (in_time or any(refused.values())) and _is_skewed(y) else None
    if args.power == 1:
        return None
    for reason, applies in refused.items():
        if applies:
            raise ValueError(f"--power {args.power:g} cannot be: {reason}")
    return {"powers": args.power}


def _is_skewed(y):
    with warnings.catch_warnings():  # of targets that are nearly all the same
        warnings.simplefilter("ignore", RuntimeWarning)
        return skew(y) > SKEWED


def _estimator(args, data, y, labels):
    chosen = {
        "cv": data.rows.folds(args.cv), "max_iter": args.max_iter, "solver": args.solver,
        "n_centers": args.n_centers, "random_state": args.seed, "device": args.device,
        "verbose": int(sys.stderr.isatty() and not args.quiet),
    }
    chosen["ard"] = labels if args.ard else False
    if args.kernel:
        chosen["kernel"] = args.kernel[0] if len(args.kernel) == 1 else args.kernel
    if args.loss:
        chosen["loss"] = args.loss
    elif data.classification and len(y) * len(np.unique(data.y)) > MANY_SCORES:
        chosen["loss"] = "squared"
        print("loss: squared, much faster for so many classes (--loss logistic for the other)")
    return (KernelBilevelClassifier if data.classification else KernelBilevelRegressor)(**chosen)


def grid(classification, n_features, folds):
    """The usual alternative, for comparison: GridSearchCV over a 7 × 9 grid."""
    gamma = np.logspace(-3, 1, 9) / n_features
    model, name, values, scoring = (
        (SVC(), "C", np.logspace(-2, 4, 7), None) if classification else
        (KernelRidge(kernel="rbf"), "alpha", np.logspace(-5, 1, 7), "neg_mean_squared_error")
    )
    filled = Pipeline([("fill", SimpleImputer(strategy="median")), ("model", model)])
    values = {f"model__{name}": values, "model__gamma": gamma}
    return GridSearchCV(filled, values, cv=folds, scoring=scoring)
