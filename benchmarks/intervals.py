"""Do the regressor's 90 % intervals hold 90 % of new targets, and how wide are they?

    python -m benchmarks.intervals --data FOLDER [--splits 7,8,9] [--sizes 400,100]

Sets, splits and rows are those of benchmarks.default_model; parkinsons, whose judged rows are of
other subjects than the fitted ones, is shown but not in the means. Beside ``predict_interval``
stand mean ± 1.645 std of ``predict(X, return_std=True)``, and the same of scikit-learn's Gaussian
process (Matérn 3/2 with a lengthscale for each feature, and noise; one start).

The kind of interval was chosen on splits 0 to 2 by a rule written down before: of jackknife and
jackknife+, with residuals as they are or in units of the standard deviation, the one with a mean
coverage nearest to 90 % at 400 rows, and among those within one per cent of it the narrowest. So
was the factor √(n/(n − c·q)) for q numbers tuned: of c = 0, ¼, ½ and 1 the one whose coverages at
100 and at 400 rows are nearest to 90 % (85 and 89 % without it).

A row for each size: mean, lowest and highest coverage; the geometric mean of the mean width over
that of scikit-learn's; and of the interval score (width plus 20 times what lies outside) likewise.
"""

import warnings
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

import kbo

from ._harness import parser_of, write_results
from .default_model import cases

NORMAL = 1.6448536269514722
KINDS = ("predict_interval", "return_std", "scikit-learn")


def judged(ends, y):
    """Coverage, mean width and mean interval score at 90 %."""
    below, above = np.maximum(0, ends[:, 0] - y), np.maximum(0, y - ends[:, 1])
    width = ends[:, 1] - ends[:, 0]
    return np.mean(below + above == 0), np.mean(width), np.mean(width + 20 * (below + above))


def around(mean, std):
    return np.stack([mean - NORMAL * std, mean + NORMAL * std], axis=1)


def measured(data):
    """``judged`` of each kind of interval."""
    X, y, X_judge, y_judge = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kbo.KernelBilevelRegressor().fit(X, y)
        kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(np.ones(X.shape[1]), (1e-2, 1e3), nu=1.5)
        kernel = kernel + WhiteKernel(0.1, (1e-6, 10.0))
        other = GaussianProcessRegressor(kernel).fit(X, y)
    ends = (
        model.predict_interval(X_judge), around(*model.predict(X_judge, return_std=True)),
        around(*other.predict(X_judge, return_std=True)),
    )
    return {kind: judged(own, y_judge) for kind, own in zip(KINDS, ends, strict=True)}


def summary(found):
    """Rows for each size and kind, from {(name, split, size): measured}."""
    rows = []
    for size in dict.fromkeys(key[2] for key in found):
        cases = [own for key, own in found.items() if key[2] == size and key[0] != "parkinsons"]
        if not cases:
            continue
        for kind in KINDS:
            values = np.array([own[kind] for own in cases])
            relative = values / np.array([own["scikit-learn"] for own in cases])
            means = np.exp(np.log(relative).mean(0))
            rows.append({
                "rows": size, "interval": kind, "cases": len(cases),
                "coverage": f"{values[:, 0].mean():.3f}",
                "lowest": f"{values[:, 0].min():.2f}", "highest": f"{values[:, 0].max():.2f}",
                "width / scikit-learn": f"{means[1]:.3f}",
                "score / scikit-learn": f"{means[2]:.3f}",
            })
    return rows


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", default="7,8,9")
    parser.add_argument("--sizes", default="400,100")
    args = parser.parse_args()
    found = {}
    for key, data in cases(args.data, args.splits, args.sizes):
        own = found[key] = measured(data)
        print(*key, {kind: np.round(v, 3) for kind, v in own.items()}, flush=True)
        write_results("intervals", summary(found))


if __name__ == "__main__":
    main()
