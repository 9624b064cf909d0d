"""Fits in several processes at the same time, against one alone, on the same cores.

    python -m benchmarks.crowded

Each process fits once, to compile, and waits for the others; then it fits again. Shown is the mean
of these second times, and how many times the one of a process alone it is, for
KernelBilevelRegressor() and for GridSearchCV(KernelRidge(kernel="rbf")), 7 × 9 points: for the
latter at n = 150 alone, because at n = 600 two at a time already take minutes.
"""

import subprocess
import sys
import time

import numpy as np

from ._harness import Table, parser_of


def data(n, d=5):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n)


def kbo_default():
    import kbo

    return kbo.KernelBilevelRegressor()


def grid():
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV

    space = {"alpha": np.logspace(-5, 1, 7), "gamma": np.logspace(-4, 0, 9)}
    return GridSearchCV(KernelRidge(kernel="rbf"), space)


MODELS = {"KernelBilevelRegressor()": kbo_default, "GridSearchCV": grid}
SIZES = {"KernelBilevelRegressor()": (150, 600, 1000), "GridSearchCV": (150,)}


def one(name, n):
    """In a process of its own: say when it is ready, wait for a line, and print the seconds."""
    X, y = data(n)
    MODELS[name]().fit(X, y)
    print("ready", flush=True)
    input()
    started = time.perf_counter()
    MODELS[name]().fit(X, y)
    print(time.perf_counter() - started, flush=True)


def together(name, n, count):
    """Mean seconds of a fit in each of ``count`` processes."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.crowded", "--one", name, str(n)]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return float(np.mean([float(process.communicate()[0]) for process in processes]))


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--one", nargs=2, help="what each process runs")
    args = parser.parse_args()
    if args.one:
        one(args.one[0], int(args.one[1]))
        return
    table = Table("crowded")
    for name in MODELS:
        for n in SIZES[name]:
            alone = together(name, n, 1)
            row = {"model": name, "n": n, "alone (s)": f"{alone:.2f}"}
            for count in (2, 4):
                seconds = together(name, n, count)
                row |= {f"{count} together (s)": f"{seconds:.2f}", f"ratio of {count}":
                        f"{seconds / alone:.1f}"}
            table.add(row)


if __name__ == "__main__":
    main()
