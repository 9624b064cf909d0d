"""The default regressor on all rows of kin40k and pol: error, time and memory.

    python -m benchmarks.full_sets FOLDER [--sets kin40k pol] [--centers 0 4000 7000]

FOLDER is as for tuning.py; split 0, standardised. Each row is the first fit in a process of its
own, compilation included: KernelBilevelRegressor(n_centers=M), where 0 is the default of 10√n.
The marginal likelihood is of 2,000 random rows, the final fit of all. "GiB" is the most memory that
the process held. The test RMSE is in standard deviations of the training target. Marks of exact
Gaussian processes in the literature, on other splits: kin40k .099, pol .15 (Wang et al. 2019) and
.08 (2024).
"""

import resource
import warnings

import numpy as np

from ._harness import Table, fresh, parser_of, timed
from .tuning import load


def measure(folder, name, centers):
    """Seconds, error and memory of one fit."""
    from kbo import KernelBilevelRegressor

    warnings.simplefilter("ignore")
    X, y, X_test, y_test, _ = load(folder, name, rows=None)
    seconds, model = timed(KernelBilevelRegressor(n_centers=centers or None).fit, X, y)
    rmse = float(np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2)))
    return {
        "set": name, "n": len(X), "d": X.shape[1], "solver": model.solver_.split(",")[0],
        "centres": len(model.X_fit_), "test RMSE": round(rmse, 4), "s": round(seconds, 1),
        "GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1),
    }


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder")
    parser.add_argument("--sets", nargs="+", default=["kin40k", "pol"])
    parser.add_argument("--centers", nargs="+", type=int, default=[0, 4000, 7000])
    args, table = parser.parse_args(), Table("full_sets")
    for name in args.sets:
        for centers in args.centers:
            table.add(fresh(measure, args.folder, name, centers))


if __name__ == "__main__":
    main()
