"""Can the default of KernelBilevelRegressor be trusted on any table?

    python -m benchmarks.default_model --data FOLDER [--splits 7,8,9] [--sizes 400,100]

FOLDER has a folder for each of the UCI sets, with ``data.csv.gz`` (the target last) and
``test_mask.csv.gz`` (a column for each split; 1 for test rows). Of every set and split at most 400
(or 100) training rows are fitted and other training rows are judged, so that the official test rows
play no part in the choice of a default. Columns are standardised, the same for all; for parkinsons
the judged rows are of other subjects than the fitted ones, without their number; of bike the two
columns whose sum is the target are dropped.

The default was chosen on splits 0 to 6: criterion and prior on 0 to 2, among some 130 candidates
in a program of its own, and kernel="auto" on the test rows of splits 0 and 1, among ten kernels
(powers of exponentials, sums over features, products, mixtures with a linear kernel or of two
scales, on the first few sets all worse). 7 to 9 had no part in it, but they are other draws of the
same tables. The search by leaving one out was thought of after failures on 7 and 8, and left out
where own lengthscales pay by a rule of 5 and 6. The price of a tuned number, by which an end is
kept, was settled on 5 to 9.

The table has, for each candidate: the geometric mean of RMSE over the lowest of the case; over that
of ridge regression; the highest ratio to the same estimator with one lengthscale, and to ridge
regression; the share of cases more than 5 % above ``ard=False``; and the median and the extremes of
``cv_loss_`` over the judged loss, which should be 1.
"""

import warnings
import zlib
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV

import kbo

from ._harness import parser_of, write_results

SETS = (
    "airfoil", "autompg", "bike", "breastcancer", "concrete", "elevators", "energy", "fertility",
    "forest", "kin40k", "parkinsons", "pendulum", "pol", "solar", "stock", "wine", "yacht",
)
TARGET_PARTS = [15, 16]  # columns of bike whose sum is the target
LEAST = 150  # training rows that a set must have for fits of 100
CANDIDATES = {
    "default": {},
    "ard=False": {"ard": False},
    "prior=0": {"prior": 0.0},
    "criterion='cv'": {"criterion": "cv"},
    "criterion='cv', prior=0": {"criterion": "cv", "prior": 0.0},
    "kernel='matern32'": {"kernel": "matern32"},
    "kernel='matern32' + 'laplacian'": {"kernel": ["matern32", "laplacian"]},
    "kernel='gaussian'": {"kernel": "gaussian"},
    "kernel='matern52'": {"kernel": "matern52"},
}


def case(folder, name, split, size):
    """Standardised (X, y) to fit and to judge, or None if there are too few rows."""
    table = np.loadtxt(folder / name / "data.csv.gz", delimiter=",")
    mask = np.loadtxt(folder / name / "test_mask.csv.gz", delimiter=",", ndmin=2) > 0.5
    rows = np.flatnonzero(~mask[:, split])
    random = np.random.default_rng([zlib.crc32(name.encode()), split])
    X, y = table[:, :-1], table[:, -1]
    judged = min(1000, max(len(rows) - 400, len(rows) // 3))
    fitted = min(400, len(rows) - judged)
    if name == "parkinsons":
        subjects = random.permutation(np.unique(X[rows, 0]))
        first = np.isin(X[rows, 0], subjects[: len(subjects) // 2])
        fit = random.permutation(rows[first])[:fitted]
        judge = random.permutation(rows[~first])[:judged]
        X = X[:, 1:]
    else:
        order = random.permutation(rows)
        judge, fit = order[:judged], order[judged : judged + fitted]
    if name == "bike":
        X = np.delete(X, TARGET_PARTS, 1)
    if size < len(fit):
        if len(fit) < LEAST:
            return None
        fit = fit[:size]
    fit = np.sort(fit)
    spread, mean = X[fit].std(0), X[fit].mean(0)
    kept = spread > 1e-10 * np.maximum(1e-300, np.abs(X).max(0))
    X = ((X - mean) / np.where(kept, spread, 1))[:, kept]
    y = (y - y[fit].mean()) / y[fit].std()
    return X[fit], y[fit], X[judge], y[judge]


def cases(folder, splits, sizes):
    """(name, split, size), data of every case with enough rows; splits and sizes as "7,8"."""
    for size in map(int, sizes.split(",")):
        for split in map(int, splits.split(",")):
            for name in SETS:
                data = case(folder, name, split, size)
                if data is not None:
                    yield (name, split, size), data


def fitted(options, data):
    """RMSE on the judged rows, and cv_loss_ over the judged loss."""
    X, y, X_judge, y_judge = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kbo.KernelBilevelRegressor(**options).fit(X, y)
    loss = float(np.mean((model.predict(X_judge) - y_judge) ** 2))
    return loss**0.5, 2 * model.cv_loss_ / loss


def summary(found):
    """A row for each candidate from {case: {candidate: (rmse, optimism)}}."""
    names, cases = list(next(iter(found.values()))), list(found.values())
    rmse = {name: np.array([case[name][0] for case in cases]) for name in names}
    best = np.min(list(rmse.values()), axis=0)
    rows = []
    for name, own in rmse.items():
        to_one, to_ridge = own / rmse["ard=False"], own / rmse["ridge"]
        row = {
            "candidate": name, "rmse / best": f"{np.exp(np.log(own / best).mean()):.4f}",
            "/ ridge": f"{np.exp(np.log(to_ridge).mean()):.3f}",
            "worst / ard=False": f"{to_one.max():.2f}", "worst / ridge": f"{to_ridge.max():.2f}",
            "above 1.05": f"{100 * np.mean(to_one > 1.05):.0f} %", "cv_loss_ / loss": "",
        }
        if name != "ridge":
            ratio = np.array([case[name][1] for case in cases])
            row["cv_loss_ / loss"] = (
                f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
            )
        rows.append(row)
    return rows


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", default="7,8,9")
    parser.add_argument("--sizes", default="400,100")
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES))
    parser.add_argument("--name", default="default_model")
    args = parser.parse_args()
    chosen = [name for name in CANDIDATES if name in {"ard=False", *args.candidates}]
    found = {}
    for key, data in cases(args.data, args.splits, args.sizes):
        ridge = RidgeCV(np.logspace(-3, 5, 33)).fit(*data[:2])
        rmse = float(np.mean((ridge.predict(data[2]) - data[3]) ** 2)) ** 0.5
        own = {name: fitted(CANDIDATES[name], data) for name in chosen}
        found[key] = own = {"ridge": (rmse, 1.0)} | own
        print(*key, {name: round(v[0], 3) for name, v in own.items()}, flush=True)
        write_results(args.name, summary(found))


if __name__ == "__main__":
    main()
