"""How many Python calls kbo makes on its way through one evaluation and one fit of tiny data.

    python -m benchmarks.calls [--top 25]

Each line counts a second run, when everything is compiled: calls of kbo's functions, those that
cross from one module into another, modules that are passed through, and preparations
(problems made ready). With ``--top``, the functions that are called most. The last line is what one
more evaluation costs in a search, from searches of two lengths.
"""

import sys
import warnings
from collections import Counter
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np
from sklearn.kernel_ridge import KernelRidge

import kbo
from tests import helpers

from ._harness import arguments

ROOT = str(Path(kbo.__file__).parent)


def counted(run):
    """(calls by function, calls across modules) of a function without arguments."""
    calls, across = Counter(), Counter()

    def watch(frame, event, _):
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ROOT):
            return
        calls[code.co_filename, code.co_qualname] += 1
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(ROOT):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != code.co_filename:
            across[code.co_filename, code.co_qualname] += 1

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls, across


def cases():
    """(name, function) of each case that is measured."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=40)
    problem, omega = helpers.folds_problem()
    yield "value_and_hypergradient", lambda: kbo.value_and_hypergradient(problem, omega)
    yield "KernelBilevelRegressor.fit", lambda: kbo.KernelBilevelRegressor(max_iter=1).fit(X, y)
    space = {"alpha": (1e-3, 1e1), "gamma": (1e-2, 1e1)}
    yield "HypergradientSearchCV.fit", lambda: kbo.HypergradientSearchCV(
        KernelRidge(kernel="rbf"), space, max_iter=1
    ).fit(X, y)
    z, u = rng.normal(size=(60, 1)), rng.normal(size=60)
    t = (z[:, 0] + 0.5 * u)[:, None]
    outcome = np.sin(t[:, 0]) + 0.5 * u
    yield "KernelIVRegressor.fit", lambda: kbo.KernelIVRegressor(max_iter=1).fit(t, outcome, z)


def each_evaluation():
    """(calls, calls across modules) of one evaluation of L and its gradient in a search."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=40)
    totals = []
    for steps in (2, 10):
        est = kbo.KernelBilevelRegressor(kernel="gaussian", cv=5, max_iter=steps).fit(X, y)
        calls, across = counted(lambda est=est: est.fit(X, y))
        totals.append((est.history_[-1]["evaluations"], calls.total(), across.total()))
    evaluations, *counts = np.subtract(*totals[::-1])
    return [float(count / evaluations) for count in counts]


def main():
    top = arguments(__doc__, top=0).top
    warnings.simplefilter("ignore")
    print("| | calls | across modules | modules | preparations |\n|---|---|---|---|---|")
    for name, run in cases():
        run()
        calls, across = counted(run)
        prepared = sum(n for (_, function), n in calls.items() if function == "_prepared")
        modules = len({module for module, _ in calls})
        print(f"| {name} | {calls.total()} | {across.total()} | {modules} | {prepared} |")
        for kind, table in (("calls", calls), ("across", across)):
            for (module, function), count in table.most_common(top):
                print(f"    {kind} {count:5d} {Path(module).relative_to(ROOT)} {function}")
    print("| each evaluation of a search | {:.0f} | {:.0f} | | |".format(*each_evaluation()))


if __name__ == "__main__":
    main()
