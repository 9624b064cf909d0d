"""The models that ``kbo tune`` fits: the tuned one, its start, and the usual alternative."""

from __future__ import annotations

import sys

import numpy as np
from scipy.stats import skew
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from ..estimators import KernelBilevelClassifier, KernelBilevelRegressor, PowerTargetRegressor

TUNED, START = "tuned by kbo", "start"
MANY_SCORES = 8000  # samples times classes beyond which the softmax likelihood takes minutes
SKEWED = 1.0  # skewness beyond which powers of a target are compared
WORDS = {1.0: "itself", 0.5: "its square root", 0.0: "its logarithm"}


def candidates(args, data, y, labels):
    """The tuned model and its start, by name, for the targets y of the training rows.

    Of a target that is never negative and skewed, both are of the power that predicts it best.
    """
    powers = _powers(args, data, y)
    tuned = _estimator(args, data, y, labels)
    if args.max_time is not None:
        tuned.set_params(max_time=args.max_time / len(powers))
    models = {START: clone(tuned).set_params(tune=(), verbose=0), TUNED: tuned}
    if powers == (1.0,):
        return models
    return {name: PowerTargetRegressor(model, powers=powers) for name, model in models.items()}


def core(model):
    """The fitted kernel model: of the target, or of a power of it."""
    return getattr(model, "regressor_", model)


def settled(model):
    """The model without the powers that were compared, if none of them is needed."""
    return core(model) if getattr(model, "power_", 1.0) == 1.0 else model


def count_fits(model):
    """The number of searches in one fit."""
    return len(getattr(model, "errors_", [0]))


def words_of_power(power):
    """A power of the target, in words."""
    return WORDS.get(power, f"its power {power:g}")


def _powers(args, data, y):
    squared = not data.classification and args.loss in (None, "squared") and np.ndim(y) == 1
    if args.power != "auto":
        if not squared:
            raise ValueError("--power is for regression of one target with the squared loss")
        if args.power < 1 and np.min(y) < 0:
            raise ValueError(f"--power {args.power:g} is for targets that are never negative")
        return (args.power,)
    skewed = squared and np.min(y) >= 0 and skew(y) > SKEWED
    return PowerTargetRegressor().powers if skewed else (1.0,)


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
