"""The ``kbo`` command: tune a kernel model on a table, and say what was gained."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from . import tabular
from .checkpoint import write_atomically
from .estimators import KernelBilevelClassifier, KernelBilevelRegressor
from .inspection import TuningDisplay
from .inspection import report as what_matters

MANY_SCORES = 8000  # samples times classes, from which softmax likelihoods take minutes


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="kbo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    tune = commands.add_parser("tune", help="tune a kernel model on a table by hypergradient")
    tune.add_argument("file", nargs="?", help="a CSV or Parquet file")
    tune.add_argument("--dataset", choices=sorted(tabular.BUNDLED), help="a bundled data set")
    tune.add_argument("--target", help="the target column of the file")
    tune.add_argument("--task", choices=("auto", "regression", "classification"), default="auto")
    tune.add_argument("--kernel", nargs="+", help="one, or a mixture (default: the estimator's)")
    tune.add_argument("--loss", help="inner loss (regression: squared, huber, quantile, poisson; "
                      "classification: logistic, squared)")
    tune.add_argument("--ard", action=argparse.BooleanOptionalAction,
                      help="one lengthscale per feature (default: for regression)")
    tune.add_argument("--cv", type=int, default=5, help="folds")
    tune.add_argument("--max-iter", type=int, default=100, help="outer steps")
    tune.add_argument("--max-time", type=float, help="seconds for the search")
    tune.add_argument("--solver", default="auto", help="auto, exact, nystrom, falkon or full_cg")
    tune.add_argument("--n-centers", type=int, help="points that span the model (large data)")
    tune.add_argument("--test-size", type=float, default=0.25, help="fraction held out")
    tune.add_argument("--seed", type=int, default=0, help="of the split and of the folds")
    tune.add_argument("--missing", choices=("impute", "refuse"), default="impute")
    tune.add_argument("--device", choices=("cpu", "gpu"))
    tune.add_argument("--compare", action="store_true", help="also run scikit-learn's GridSearchCV")
    tune.add_argument("--output", type=Path, default=Path("kbo-report"), help="folder to write to")
    tune.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def load(args):
    """(X frame, y, whether it is classification) as the arguments say."""
    if (args.dataset is None) == (args.file is None):
        raise ValueError("give either --dataset NAME or a file with --target COLUMN")
    if args.dataset:
        X, y, classification = tabular.load_bundled(args.dataset)
    elif args.target is None:
        raise ValueError("--target COLUMN is needed with a file")
    else:
        X, y, classification = tabular.load_file(args.file, args.target)
    if args.task != "auto":
        classification = args.task == "classification"
    return X, y, classification


def _estimator(args, classification, n_scores):
    chosen = {
        "cv": args.cv, "max_iter": args.max_iter,
        "max_time": args.max_time, "solver": args.solver, "n_centers": args.n_centers,
        "random_state": args.seed, "device": args.device, "verbose": 0 if args.quiet else 1,
    }
    if args.ard is not None:
        chosen["ard"] = args.ard
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


def _table(rows, columns):
    """Rows of dicts as aligned text."""
    cells = [columns, *([str(row.get(c, "")) for c in columns] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def tune(args) -> dict:
    """Split, tune, compare, print one table, write the report; returns the report."""
    X, y, classification = load(args)
    if args.task != "classification" and not classification:
        y = y.astype(float)
    encode = tabular.encoder(X, args.missing)
    gaps = {c: int(k) for c, k in X.isna().sum().items() if k}
    if gaps:
        print(f"missing values imputed (count per column): {gaps}")
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=args.test_size, random_state=args.seed,
        stratify=y if classification else None,
    )
    metric = "accuracy" if classification else "R2"
    kind = "classification" if classification else "regression"
    print(f"{kind}: {len(X_train)} training and {len(X_test)} test samples, {X.shape[1]} columns")
    n_scores = len(X_train) * (len(np.unique(y)) if classification else 1)
    estimator = _estimator(args, classification, n_scores)
    start = make_pipeline(encode, clone(estimator).set_params(tune=(), verbose=0))
    tuned = make_pipeline(clone(encode), estimator)
    start_seconds = _timed_fit(start, X_train, y_train)
    seconds = _timed_fit(tuned, X_train, y_train)
    fitted = tuned[-1]
    rows = [
        {"model": "start", "criterion": f"{fitted.criterion_start_:.5g}",
         f"test {metric}": f"{start.score(X_test, y_test):.4f}", "seconds": f"{start_seconds:.2f}",
         "alpha": f"{estimator.alpha:.3g}"},
        {"model": "tuned by kbo", "criterion": f"{fitted.criterion_:.5g}",
         f"test {metric}": f"{tuned.score(X_test, y_test):.4f}", "seconds": f"{seconds:.2f}",
         "alpha": f"{fitted.alpha_:.3g}"},
    ]
    report = {
        "task": kind, "n_train": len(X_train), "n_test": len(X_test), "metric": metric,
        "criterion_start": fitted.criterion_start_, "criterion": fitted.criterion_,
        "score_start": start.score(X_test, y_test), "score": tuned.score(X_test, y_test),
        "seconds": seconds, "status": fitted.status_, "n_iter": fitted.n_iter_,
        "n_evaluations": fitted.n_evaluations_, "solver": fitted.solver_, "alpha": fitted.alpha_,
        "kernel": repr(fitted.kernel_), "missing": gaps, "seed": args.seed,
    }
    if args.compare:
        grid = make_pipeline(clone(encode), _grid(args, classification, X.shape[1]))
        grid_seconds = _timed_fit(grid, X_train, y_train)
        rows.append({
            "model": "GridSearchCV 7x9", "test " + metric: f"{grid.score(X_test, y_test):.4f}"
            if classification else f"{_r2(grid, X_test, y_test):.4f}",
            "seconds": f"{grid_seconds:.2f}",
        })
        report["grid"] = {
            "score": float(rows[-1]["test " + metric]), "seconds": grid_seconds,
            "best_params": {k: float(v) for k, v in grid[-1].best_params_.items()},
        }
    print(_table(rows, ["model", "criterion", f"test {metric}", "seconds", "alpha"]))
    names = list(tuned[0].get_feature_names_out())
    found = what_matters(fitted, names)
    report |= {"features": found.features, "samples": found.samples}
    print(f"\n{found}")
    _write(args, report, tuned, fitted, names)
    return report


def _r2(search, X, y):
    from sklearn.metrics import r2_score

    return r2_score(y, search.predict(X))


def _write(args, report, tuned, fitted, names):
    args.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, default=float)
    write_atomically(args.output / "report.json", lambda f: f.write(text), "w")
    display = TuningDisplay.from_estimator(fitted, names=names)
    write_atomically(args.output / "figure.png", lambda f: display.figure_.savefig(f, format="png"))
    display.close()
    write_atomically(args.output / "model.joblib", lambda f: joblib.dump(tuned, f))
    print(
        f"\nwrote {args.output}/report.json, figure.png and model.joblib (a joblib pickle of the "
        "whole pipeline: joblib.load it only where you trust the file)"
    )


def main(argv=None) -> int:
    """Run the command; 2 is returned for bad input, with one line that says why."""
    args = build_parser().parse_args(argv)
    warnings.simplefilter("always", ConvergenceWarning)
    try:
        tune(args)
    except BrokenPipeError:  # whoever read the output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"kbo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
