"""KernelBilevelRegressor against GridSearchCV(KernelRidge) and GaussianProcessRegressor.

    python benchmarks/tuning.py FOLDER [--sets concrete airfoil …] [--splits 0 1 …] [--no-gp]

FOLDER holds NAME/data.csv.gz (last column the target) and NAME/test_mask.csv.gz (a column for each
split). Training sets are standardised and cut to 1,500 random rows. Every model is fitted twice in
a process of its own, as somebody would run it who uses nothing else: "first" includes compilation
(kbo) and the start of two workers (grid search), "s" is the second fit. Test RMSE in standard
deviations of the training target.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from fresh import fresh

SETS = ("concrete", "airfoil", "energy", "parkinsons", "pol", "bike", "elevators", "kin40k")
GP_SECONDS = 600


def load(folder, name, rows=1500, split=0):
    """Standardised (X, y, X_test, y_test)."""
    data = np.loadtxt(folder / name / "data.csv.gz", delimiter=",")
    test = np.loadtxt(folder / name / "test_mask.csv.gz", delimiter=",")[:, split].astype(bool)
    train, test = data[~test], data[test]
    train = train[np.random.default_rng(0).permutation(len(train))[:rows]]
    mean, spread = train.mean(0), train.std(0)
    spread[spread == 0] = 1
    train, test = (train - mean) / spread, (test - mean) / spread
    return train[:, :-1], train[:, -1], test[:, :-1], test[:, -1]


def kbo_model(d):
    from kbo import KernelBilevelRegressor  # isort: skip (before scikit-learn: see the README)
    from sklearn.model_selection import KFold

    return KernelBilevelRegressor(cv=KFold(5))


def grid_model(d):
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV, KFold

    return GridSearchCV(
        KernelRidge(kernel="rbf"),
        {"alpha": np.logspace(-5, 1, 7), "gamma": np.logspace(-3, 1, 9) / d},
        cv=KFold(5), n_jobs=2, scoring="neg_mean_squared_error",
    )


def gp_model(d):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel() * RBF(np.full(d, np.sqrt(d)), (1e-3, 1e5))
    return GaussianProcessRegressor(kernel + WhiteKernel(0.01, (1e-8, 1e2)))


MODELS = {"kbo": kbo_model, "grid": grid_model, "GP": gp_model}


def fit(folder, name, split, model, twice):
    """What one process prints: seconds of each fit, test RMSE."""
    warnings.simplefilter("ignore")
    make = MODELS[model]
    X, y, X_test, y_test = load(folder, name, split=split)
    seconds = []
    for _ in range(1 + twice):
        fitted = make(X.shape[1])
        started = time.perf_counter()
        fitted.fit(X, y)
        seconds.append(time.perf_counter() - started)
    rmse = float(np.sqrt(np.mean((fitted.predict(X_test) - y_test) ** 2)))
    print(json.dumps({"seconds": seconds, "rmse": rmse, "n": len(X), "d": X.shape[1]}))


def run(folder, name, split, models):
    row = {"set": name, "split": split}
    for model in models:
        which = ["--sets", name, "--splits", split, "--fit", model]
        found = fresh([sys.executable, __file__, folder, *which], GP_SECONDS)
        if found is None:
            row |= {f"{model} RMSE": None, f"{model} s": None}
            continue
        row |= {"n": found["n"], "d": found["d"], f"{model} RMSE": round(found["rmse"], 4)}
        if model != "GP":
            row[f"{model} first"] = round(found["seconds"][0], 2)
        row[f"{model} s"] = round(found["seconds"][-1], 2)
    rivals = [row[f"{m} RMSE"] for m in models[1:] if row[f"{m} RMSE"] is not None]
    row["RMSE / best rival"] = round(row["kbo RMSE"] / min(rivals), 3)
    row["s / grid s"] = round(row["kbo s"] / row["grid s"], 2)
    row["s / grid first"] = round(row["kbo s"] / row["grid first"], 2)
    if row.get("GP s"):
        row["s / GP s"] = round(row["kbo s"] / row["GP s"], 3)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--splits", nargs="+", type=int, default=[0])
    parser.add_argument("--no-gp", action="store_true", help="skip the Gaussian process (minutes)")
    parser.add_argument("--fit", choices=MODELS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.fit:
        fit(args.folder, args.sets[0], args.splits[0], args.fit, twice=args.fit != "GP")
        return
    from report import write_results  # not above: rivals run without kbo and what it sets

    models = ["kbo", "grid"] if args.no_gp else ["kbo", "grid", "GP"]
    rows = []
    for split in args.splits:
        for name in args.sets:
            rows.append(run(args.folder, name, split, models))
            print(rows[-1], flush=True)
            write_results("tuning_no_gp" if args.no_gp else "tuning", rows)


if __name__ == "__main__":
    main()
