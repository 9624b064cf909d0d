"""KernelBilevelRegressor against GridSearchCV(KernelRidge) and GaussianProcessRegressor.

    python benchmarks/tuning.py FOLDER [--sets concrete airfoil …] [--no-gp]

FOLDER holds NAME/data.csv.gz (last column the target) and NAME/test_mask.csv.gz (first column: the
standard split 0). Training sets are standardised and cut to 1,500 random rows. Test RMSE in
standard deviations of the training target; wall seconds, the first fit's compilation apart.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

# First: it sets how long OpenBLAS's idle threads spin, for the rivals too.
from kbo import KernelBilevelRegressor  # isort: split

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold

sys.path.insert(0, str(Path(__file__).parent))
from report import write_results

SETS = ("concrete", "airfoil", "energy", "parkinsons", "pol", "bike", "elevators", "kin40k")


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


def timed(model, X, y):
    started = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - started


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def run(folder, name, with_gp):
    X, y, X_test, y_test = load(folder, name)
    d = X.shape[1]
    folds = KFold(5)
    ours = KernelBilevelRegressor(cv=folds)
    cold, warm = timed(ours, X, y), timed(ours, X, y)
    grid = GridSearchCV(
        KernelRidge(kernel="rbf"),
        {"alpha": np.logspace(-5, 1, 7), "gamma": np.logspace(-3, 1, 9) / d},
        cv=folds, n_jobs=2, scoring="neg_mean_squared_error",
    )
    grid_seconds = timed(grid, X, y)
    row = {
        "set": name, "n": len(X), "d": d, "kbo RMSE": f"{rmse(ours, X_test, y_test):.4f}",
        "kbo s": f"{warm:.2f}", "compile s": f"{cold - warm:.2f}",
        "evaluations": ours.n_evaluations_, "grid RMSE": f"{rmse(grid, X_test, y_test):.4f}",
        "grid s": f"{grid_seconds:.2f}", "time / grid": f"{warm / grid_seconds:.2f}",
    }
    if with_gp:
        kernel = ConstantKernel() * RBF(np.full(d, np.sqrt(d)), (1e-3, 1e5))
        gp = GaussianProcessRegressor(kernel + WhiteKernel(0.01, (1e-8, 1e2)))
        gp_seconds = timed(gp, X, y)
        row |= {
            "GP RMSE": f"{rmse(gp, X_test, y_test):.4f}", "GP s": f"{gp_seconds:.1f}",
            "time / GP": f"{warm / gp_seconds:.3f}",
        }
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--no-gp", action="store_true", help="skip the Gaussian process (minutes)")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = []
    for name in args.sets:
        rows.append(run(args.folder, name, not args.no_gp))
        print(rows[-1], flush=True)
        write_results("tuning" if not args.no_gp else "tuning_no_gp", rows)


if __name__ == "__main__":
    main()
