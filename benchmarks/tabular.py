"""The default regressor against what people use on tables today, on the 17 UCI sets.

    python -m benchmarks.tabular FOLDER [--splits 0 1 …] [--sets …] [--models …]

FOLDER is that of benchmarks.tuning, whose ``load`` gives the rows: standardised, cut to 1,000
random training rows, the standard test rows; of bike without the columns that make its target, and
of parkinsons with whole patients as test rows. Models whose package is not installed are left out,
which is said. What has been measured is kept in the file of results and not measured again: a run
that was stopped goes on, and another split adds its rows (``--again`` measures anew what is asked
for). There are two tables: without and with the tuned rivals, each of the cases that all its models
were fitted to.

"best" is the lowest RMSE of all models in hindsight. The models: KernelBilevelRegressor(); RidgeCV;
GridSearchCV(KernelRidge(kernel="rbf")), 7 × 9 points and five shuffled folds; scikit-learn's
Gaussian process, Matérn 3/2 with a lengthscale for each feature; LightGBM, CatBoost and xRFM as
they come, the last with a fifth of the rows as its validation set; and the best on such a fifth of
15 random configurations of CatBoost and of 30 of xRFM (benchmarks._tuned).
"""

import argparse
import warnings
from importlib.util import find_spec

import numpy as np

from ._harness import parser_of, read_results, timed, write_results
from ._tuned import XRFM, TunedCatBoost
from .default_model import SETS
from .tuning import load

ROWS = 1000


def kbo_default():
    import kbo

    return kbo.KernelBilevelRegressor()


def ridge():
    from sklearn.linear_model import RidgeCV

    return RidgeCV(np.logspace(-3, 5, 33))


def grid():
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV, KFold

    space = {"alpha": np.logspace(-5, 1, 7), "gamma": np.logspace(-4, 0, 9)}
    return GridSearchCV(
        KernelRidge(kernel="rbf"), space, cv=KFold(5, shuffle=True, random_state=0),
        scoring="neg_mean_squared_error",
    )


def process():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    class Process(GaussianProcessRegressor):
        """With a lengthscale for each column, which are counted in ``fit``."""

        def fit(self, X, y):
            length = np.full(X.shape[1], np.sqrt(X.shape[1]))
            kernel = ConstantKernel() * Matern(length, (1e-2, 1e5), nu=1.5)
            self.kernel = kernel + WhiteKernel(0.1, (1e-8, 1e2))
            return super().fit(X, y)

    return Process()


def lightgbm():
    from lightgbm import LGBMRegressor

    return LGBMRegressor(verbose=-1, random_state=0)


def catboost():
    from catboost import CatBoostRegressor

    return CatBoostRegressor(verbose=False, random_seed=0, allow_writing_files=False)


MODELS = {
    "kbo": (kbo_default, "kbo"), "ridge": (ridge, "sklearn"), "grid": (grid, "sklearn"),
    "process": (process, "sklearn"), "lightgbm": (lightgbm, "lightgbm"),
    "catboost": (catboost, "catboost"), "xrfm": (XRFM, "xrfm"),
    "catboost, tuned": (lambda: TunedCatBoost(15), "catboost"),
    "xrfm, tuned": (lambda: XRFM(30), "xrfm"),
}


TUNED = ("catboost, tuned", "xrfm, tuned")  # slow, and so measured on fewer splits


def summary(found, models):
    """A row for each of the models, from {(set, split): {model: (rmse, seconds)}}."""
    names = [name for name in models if any(name in case for case in found.values())]
    whole = {key: case for key, case in found.items() if set(names) <= set(case)}
    if not whole:
        return []
    rmse = np.array([[case[name][0] for name in names] for case in whole.values()])
    seconds = np.array([[case[name][1] for name in names] for case in whole.values()])
    splits = np.array([split for _, split in whole])
    rank = 1 + (rmse[:, :, None] > rmse[:, None, :]).sum(2)
    others = rmse / rmse.min(1, keepdims=True)
    rows = []
    for k, name in enumerate(names):
        to_rivals = np.log(rmse[:, k] / np.delete(rmse, k, 1).min(1))
        each = {split: np.exp(to_rivals[splits == split].mean()) for split in np.unique(splits)}
        rows.append({
            "model": name, "cases": len(whole), "mean rank": f"{rank[:, k].mean():.2f}",
            "RMSE / best": f"{np.exp(np.log(others[:, k]).mean()):.3f}",
            "RMSE / best rival": f"{np.exp(to_rivals.mean()):.3f}",
            "by split": ", ".join(f"{split}: {ratio:.3f}" for split, ratio in each.items()),
            "worst / best": f"{others[:, k].max():.2f}",
            "median s": f"{np.median(seconds[:, k]):.2f}",
            "highest s": f"{seconds[:, k].max():.1f}",
        })
    return rows


def details(found):
    """A row for each fit."""
    return [
        {"set": name, "split": split, "model": model, "RMSE": rmse, "s": seconds}
        for (name, split), case in found.items() for model, (rmse, seconds) in case.items()
    ]


def known():
    """What earlier runs have measured."""
    found = {}
    for row in read_results("tabular_fits"):
        case = found.setdefault((row["set"], row["split"]), {})
        case[row["model"]] = row["RMSE"], row["s"]
    return found


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--splits", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--again", action=argparse.BooleanOptionalAction, default=False)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    models = [name for name in args.models if find_spec(MODELS[name][1])]
    if missing := sorted(set(args.models) - set(models)):
        print(f"not installed, left out: {missing}")
    found = known()
    for split in args.splits:
        for name in args.sets:
            case = found.setdefault((name, split), {})
            X, y, X_test, y_test, _ = load(args.folder, name, ROWS, split)
            for model in models:
                if model in case and not args.again:
                    continue
                seconds, fitted = timed(MODELS[model][0]().fit, X, y)
                rmse = float(np.sqrt(np.mean((fitted.predict(X_test) - y_test) ** 2)))
                case[model] = round(rmse, 5), round(seconds, 2)
                write_results("tabular_fits", details(found))
            print(name, split, {key: value[0] for key, value in case.items()}, flush=True)
            write_results("tabular", summary(found, [m for m in MODELS if m not in TUNED]))
            write_results("tabular_tuned", summary(found, MODELS))


if __name__ == "__main__":
    main()
