"""One lengthscale for all features against one for each, in classification of small sets.

    python -m benchmarks.ard_classification

Accuracy and log-loss of KernelBilevelClassifier(loss="squared") after standardisation, as means
over five folds.
"""

import warnings

import kbo  # first: it sets how long OpenBLAS's idle threads spin

# isort: split
from sklearn import datasets
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ._harness import Table, arguments

SETS = ("breast_cancer", "wine", "iris", "digits")


def main():
    arguments(__doc__)
    warnings.simplefilter("ignore")
    table = Table("ard_classification")
    for name in SETS:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        row = {"set": name, "n": len(X), "d": X.shape[1]}
        for label, ard in (("one", False), ("one each", True)):
            model = kbo.KernelBilevelClassifier(loss="squared", ard=ard)
            found = cross_validate(
                make_pipeline(StandardScaler(), model), X, y, scoring=["accuracy", "neg_log_loss"]
            )
            row[f"accuracy, {label}"] = f"{found['test_accuracy'].mean():.4f}"
            row[f"log-loss, {label}"] = f"{-found['test_neg_log_loss'].mean():.3f}"
            row[f"s, {label}"] = f"{found['fit_time'].mean():.2f}"
        table.add(row)


if __name__ == "__main__":
    main()
