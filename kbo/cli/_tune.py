"""``kbo tune``: split, tune, compare, write the report, print one table."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from .. import tabular
from ..checkpoint import write_atomically
from ..estimators import KernelBilevelClassifier, KernelBilevelRegressor
from ..inspection import TuningDisplay
from ..inspection import report as what_matters
from ._text import say, table

MANY_SCORES = 8000  # samples times classes, from which softmax likelihoods take minutes


class Data(NamedTuple):
    """A table ready to be split.

    Attributes
    ----------
    columns : fitted Columns
        Of the features.
    X : DataFrame
        As they read it.
    y : ndarray
    classification : bool
    left_out : dict of str to str
        Columns that are not used, and why.
    """

    columns: tabular.Columns
    X: pd.DataFrame
    y: np.ndarray
    classification: bool
    left_out: dict


def load(args) -> Data:
    """The data that the arguments name; what a user should know about them is said."""
    if (args.dataset is None) == (args.file is None):
        raise ValueError("give either --dataset NAME or a file with --target COLUMN")
    if args.dataset:
        frame, y, classification = tabular.load_bundled(args.dataset)
        if args.task != "auto":
            classification = args.task == "classification"
        columns = tabular.Columns().fit(frame)
        return Data(columns, columns.transform(frame), y, classification, {})
    if args.target is None:
        raise ValueError("--target COLUMN is needed with a file")
    return _load_file(args)


def _load_file(args):
    found = tabular.read_table(args.file, args.sep, args.encoding)
    frame = found.frame
    for option, names in (("target", [args.target]), ("drop", args.drop), ("keep", args.keep)):
        unknown = [name for name in names if name not in frame.columns]
        if unknown:
            raise ValueError(f"--{option} {unknown[0]}: no such column; {args.file} has "
                             f"{list(frame.columns)}")
    frame = frame.drop(columns=[name for name in args.drop if name != args.target])
    columns = tabular.Columns(args.decimal, dict(args.types), found.sep).fit(frame)
    for note in (*found.notes, *columns.notes_):
        say(note)
    X = columns.transform(frame)
    y = X.pop(args.target)
    classification, why = tabular.is_classification(y, args.task)
    left_out = {name: reason for name, reason in
                tabular.suspects(X, y, found.repeated).items() if name not in args.keep}
    for name, reason in left_out.items():
        say(f"left out: {name!r}, {reason} (--keep '{name}' uses it)")
    X = X.drop(columns=list(left_out))
    if not X.shape[1]:
        raise ValueError(f"{args.file} has no column to learn from besides the target" + (
            f": left out are {list(left_out)}" if left_out else ""))
    print(f"task: {'classification' if classification else 'regression'} ({why})")
    return Data(columns.only(list(X.columns)), X, _values(y), classification, left_out)


def _values(y):
    """The target as an array: text, whole numbers where all are, or numbers."""
    if not pd.api.types.is_numeric_dtype(y):
        return y.astype(str).to_numpy(object)
    return y.to_numpy(np.int64 if (y == y.round()).all() else float)


def _estimator(args, classification, n_scores, labels):
    chosen = {
        "cv": args.cv, "max_iter": args.max_iter,
        "max_time": args.max_time, "solver": args.solver, "n_centers": args.n_centers,
        "random_state": args.seed, "device": args.device, "verbose": 0 if args.quiet else 1,
    }
    if args.ard or (args.ard is None and not classification):
        chosen["ard"] = True
    else:
        chosen["ard"] = False
    if args.kernel:
        chosen["kernel"] = args.kernel[0] if len(args.kernel) == 1 else args.kernel
    if args.loss:
        chosen["loss"] = args.loss
    elif classification and n_scores > MANY_SCORES:
        chosen["loss"] = "squared"
        print("loss: squared, much faster for so many classes (--loss logistic for the other)")
    return (KernelBilevelClassifier if classification else KernelBilevelRegressor)(**chosen)


def _grid(args, classification, n_features):
    """What most people would run instead: a 7 × 9 grid."""
    gamma = np.logspace(-3, 1, 9) / n_features
    if classification:
        return GridSearchCV(SVC(), {"C": np.logspace(-2, 4, 7), "gamma": gamma}, cv=args.cv)
    return GridSearchCV(
        KernelRidge(kernel="rbf"), {"alpha": np.logspace(-5, 1, 7), "gamma": gamma}, cv=args.cv,
        scoring="neg_mean_squared_error",
    )


def _timed_fit(model, X, y):
    started = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - started


def _count_gaps(args, X):
    """Missing values by column; refused, or said, as the arguments want."""
    gaps = {name: int(k) for name, k in X.isna().sum().items() if k}
    if gaps and args.missing == "refuse":
        raise ValueError(f"missing values per column: {gaps}; fill them, or use --missing impute")
    if gaps:
        print(f"missing values imputed (count per column): {gaps}")
    return gaps


def tune(args) -> dict:
    """Split, tune, write model, report and figure, print one table; returns the report."""
    data = load(args)
    classification = data.classification
    gaps = _count_gaps(args, data.X)
    X_train, X_test, y_train, y_test, note = tabular.split(
        data.X, data.y, args.test_size, args.seed, classification
    )
    if note:
        say(note)
    kind = "classification" if classification else "regression"
    print(f"{kind}: {len(X_train)} training and {len(X_test)} test samples, "
          f"{data.X.shape[1]} columns")
    encode = tabular.encoder(data.columns).fit(X_train)
    train, test = encode.transform(X_train), encode.transform(X_test)
    names, labels = tabular.features(encode)
    n_scores = len(X_train) * (len(np.unique(data.y)) if classification else 1)
    tuned = _estimator(args, classification, n_scores, labels)
    start = clone(tuned).set_params(tune=(), verbose=0)
    start_seconds = _timed_fit(start, train, y_train)
    seconds = _timed_fit(tuned, train, y_train)
    args.output.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline([("columns", data.columns), ("encode", encode), ("model", tuned)])
    write_atomically(args.output / "model.joblib", lambda f: joblib.dump(pipeline, f))

    metric = "accuracy" if classification else "R2"
    found = what_matters(tuned, names)
    report = {
        "task": kind, "n_train": len(X_train), "n_test": len(X_test), "metric": metric,
        "criterion_start": tuned.criterion_start_, "criterion": tuned.criterion_,
        "score_start": start.score(test, y_test), "score": tuned.score(test, y_test),
        "seconds_start": start_seconds,
        "seconds": seconds, "status": tuned.status_, "n_iter": tuned.n_iter_,
        "n_evaluations": tuned.n_evaluations_, "solver": tuned.solver_, "alpha": tuned.alpha_,
        "alpha_start": start.alpha_,
        "kernel": repr(tuned.kernel_), "missing": gaps, "left_out": data.left_out,
        "seed": args.seed, "features": found.features, "samples": found.samples,
    }
    _write_report(args, report)
    display = TuningDisplay.from_estimator(tuned, names=names)
    write_atomically(args.output / "figure.png", lambda f: display.figure_.savefig(f, format="png"))
    display.close()
    if args.compare:
        report["grid"] = _compare(args, classification, train, y_train, test, y_test)
        _write_report(args, report)
    _print(args, report, found)
    return report


def _compare(args, classification, train, y_train, test, y_test):
    grid = _grid(args, classification, train.shape[1])
    seconds = _timed_fit(grid, train, y_train)
    score = grid.best_estimator_.score(test, y_test)
    best = {name: float(value) for name, value in grid.best_params_.items()}
    return {"score": score, "seconds": seconds, "best_params": best}


def _write_report(args, report):
    text = json.dumps(report, indent=2, default=_plain)
    write_atomically(args.output / "report.json", lambda f: f.write(text), "w")


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else float(value)


def _print(args, report, found):
    test = f"test {report['metric']}"
    rows = [
        {"model": "start", "criterion": f"{report['criterion_start']:.5g}",
         test: f"{report['score_start']:.4f}", "seconds": f"{report['seconds_start']:.2f}",
         "alpha": f"{report['alpha_start']:.3g}"},
        {"model": "tuned by kbo", "criterion": f"{report['criterion']:.5g}",
         test: f"{report['score']:.4f}", "seconds": f"{report['seconds']:.2f}",
         "alpha": f"{report['alpha']:.3g}"},
    ]
    if "grid" in report:
        rows.append({"model": "GridSearchCV 7x9", test: f"{report['grid']['score']:.4f}",
                     "seconds": f"{report['grid']['seconds']:.2f}"})
    print(table(rows, ["model", "criterion", test, "seconds", "alpha"]))
    if report["score"] < report["score_start"]:
        say(f"warning: on the test rows the tuned model scores below its start: {report['metric']} "
            f"{report['score']:.4f} after {report['score_start']:.4f}")
    print(f"\n{found}")
    print(
        f"\nwrote {args.output}/report.json, figure.png and model.joblib (for kbo predict; a "
        "joblib pickle of the whole pipeline: load it only where you trust the file)"
    )
