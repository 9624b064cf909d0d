"""Wrong labels found from a few right ones, by SampleReweightingClassifier.

    python -m benchmarks.reweighting [MNIST_FOLDER]

The data are scikit-learn's digits (1,000 doubtful samples, 100 trusted, 697 to test on) and, if the
folder is given, MNIST's 10,000 test digits (4,500, 500, 5,000). 25 % or 50 % of the doubtful labels
were replaced by others. For comparison, the same final classifier is fitted to the doubtful
samples, to the trusted ones, to both, and to those whose label is right (oracle). All numbers are
means over three draws.

The last two rows come as close as these 10,000 digits allow to the small MNIST problem of Mehra and
Hamm (2019: 5,000 doubtful and 5,000 trusted, half of the labels wrong, softmax regression on
pixels; published: 90.77 %). They have 4,000 doubtful, 4,000 trusted and 2,000 test samples, with
softmax regression on pixels or the kernel classifier as the final one.
"""

import gzip
from pathlib import Path

import kbo  # first: it sets how long OpenBLAS's idle threads spin

# isort: split
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ._harness import Table, parser_of, timed

DRAWS = 3


def mnist(folder):
    def read(name, skip):
        with gzip.open(Path(folder) / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=skip)

    X = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784) / 255
    return X, read("t10k-labels-idx1-ubyte.gz", 8).astype(int)


def trial(X, y, n, m, noise, seed, estimator=None):
    random = np.random.default_rng(seed)
    order = random.permutation(len(X))
    X, y = X[order], y[order]
    trusted = np.arange(n + m) >= n
    wrong = (random.uniform(size=n + m) < noise) & ~trusted
    noisy = np.where(wrong, (y[: n + m] + random.integers(1, 10, n + m)) % 10, y[: n + m])
    test = X[n + m :], y[n + m :]
    model = kbo.SampleReweightingClassifier(estimator)
    seconds, _ = timed(model.fit, X[: n + m], noisy, trusted=trusted)
    found = {
        "s": seconds,
        "AUC": roc_auc_score(~wrong[~trusted], model.sample_weight_[~trusted]),
        "accuracy": model.score(*test),
    }
    rows = {"all": ~trusted, "trusted alone": trusted, "both": trusted | True, "oracle": ~wrong}
    for name, kept in rows.items():
        rival = clone(model.estimator_).fit(X[: n + m][kept], noisy[kept])
        found[name] = rival.score(*test)
    return found


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder", metavar="MNIST_FOLDER", nargs="?")
    folder, table = parser.parse_args().folder, Table("reweighting")
    X, y = load_digits(return_X_y=True)
    data = {"digits": (X / 16, y, 1000, 100)}
    if folder:
        data["MNIST, 10,000 test digits"] = (*mnist(folder), 4500, 500)
    cases = [(name, given, noise, None) for name, given in data.items() for noise in (0.25, 0.5)]
    if folder:
        half = (*mnist(folder), 4000, 4000)
        softmax = LogisticRegression(C=0.02, max_iter=500)
        cases.append(("MNIST, 4,000 + 4,000, softmax", half, 0.5, softmax))
        cases.append(("MNIST, 4,000 + 4,000, kernel", half, 0.5, None))
    for name, (*xy, n, m), noise, estimator in cases:
        runs = [trial(*xy, n, m, noise, seed, estimator) for seed in range(DRAWS)]
        means = {key: np.mean([run[key] for run in runs]) for key in runs[0]}
        shown = {k: f"{v:.1f}" if k == "s" else f"{v:.4f}" for k, v in means.items()}
        table.add({"data": name, "wrong labels": noise, **shown})


if __name__ == "__main__":
    main()
