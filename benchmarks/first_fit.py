"""What a user waits for in a new process: the import, the first fit, and one of another width.

    python -m benchmarks.first_fit

KernelBilevelRegressor() on n rows of 5 columns, then on 6 columns, against importing scikit-learn
and GridSearchCV(KernelRidge(kernel="rbf")), 7 × 9 points and five folds. "cached" is kbo in a
process that finds what an earlier one has compiled (JAX_COMPILATION_CACHE_DIR). Medians of several
processes.
"""

import os
import subprocess
import sys
import tempfile
import time

from ._harness import Table, arguments

RUN = """
import sys
import time
started = time.perf_counter()
import numpy as np
{imports}
imported = time.perf_counter()
rng = np.random.default_rng(0)
X = rng.normal(size=({n}, 6))
y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size={n})
times = [imported - started]
for columns in (5, 6):
    began = time.perf_counter()
    {model}.fit(X[:, :columns], y)
    times.append(time.perf_counter() - began)
    if columns == 5:
        compiled = sys.modules["kbo"].compile_seconds() if "kbo" in sys.modules else 0.0
print(*times, compiled)
"""
KINDS = {
    "kbo": ("from kbo import KernelBilevelRegressor", "KernelBilevelRegressor()"),
    "grid": (
        "from sklearn.kernel_ridge import KernelRidge\n"
        "from sklearn.model_selection import GridSearchCV",
        'GridSearchCV(KernelRidge(kernel="rbf"), '
        '{"alpha": np.logspace(-5, 1, 7), "gamma": np.logspace(-4, 0, 9)})',
    ),
}


def measured(kind, n, repeats, folder=None):
    """Median seconds of the import, the first fit, the one of another width, and of compiling."""
    imports, model = KINDS[kind]
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    if folder is not None:
        environment |= {
            "JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
    code, found = RUN.format(imports=imports, model=model, n=n), []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True,
            check=True, env=environment,
        )
        found.append([float(number) for number in done.stdout.split()])
        time.sleep(1)
    return [sorted(column)[repeats // 2] for column in zip(*found, strict=True)]


def main():
    args, table = arguments(__doc__, repeats=3), Table("first_fit")
    for n in (150, 1000):
        rival = measured("grid", n, args.repeats)
        with tempfile.TemporaryDirectory() as folder:
            rows = {"GridSearchCV": rival, "kbo": measured("kbo", n, args.repeats)}
            measured("kbo", n, 1, folder)
            rows["kbo, cached"] = measured("kbo", n, args.repeats, folder)
        for name, (imported, first, other, compiled) in rows.items():
            table.add({
                "n": n, "model": name, "import (s)": f"{imported:.2f}",
                "first fit (s)": f"{first:.2f}", "compiling in it (s)": f"{compiled:.2f}",
                "together (s)": f"{imported + first:.2f}",
                "of the grid's": f"{(imported + first) / sum(rival[:2]):.2f}",
                "another width (s)": f"{other:.2f}",
            })


if __name__ == "__main__":
    main()
