"""Errors of value and gradient over sample sizes and repeats, computed in resumable cells."""

from __future__ import annotations

import numbers
import time

import jax
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from kbo.fingerprint import fingerprint

from .estimators import Estimate, Plain
from .quantities import QUANTITIES
from .records import Records, Store

BLOCK = 5  # repeats per cell


def run_rate_experiment(
    problem, n_grid, n_repeats=50, quantities=("value", "grad"), random_state=0, n_jobs=None,
    store=None, *, omega=None, estimator=None, progress=False,
) -> Records:
    """Measure the errors of sample estimates against the population, over sizes and repeats.

    joblib computes cells of five repeats at one pair (n, m), each with one BLAS thread, so that
    the records are the same, bit for bit, for any number of workers and any backend
    (``joblib.parallel_config(backend="dask")`` spreads the cells over a cluster).

    Parameters
    ----------
    problem : Population
    n_grid : iterable of int or of pairs (n, m)
        A number means n = m.
    n_repeats : int
    quantities : iterable of str
        Names in ``theory.quantities.QUANTITIES``: "value" and "grad" at one point, "sup_value" and
        "sup_grad" over Ω (Theorem 4.1), "descent_end", "descent_min" and "descent_curve" along
        gradient descent (Corollary 4.2), "h_rkhs", "h_l2", "a_rkhs", "a_l2".
    random_state : int
        A sample depends only on this seed, on n and m, and on the index of the repeat.
    n_jobs : int or None
        As in joblib.
    store : path or None
        A folder in which finished cells are kept; they are not computed again.
    omega : array (q,) or (n_repeats, q), optional
        One point, or one for each repeat. By default one point for all repeats, drawn uniformly
        from Ω with ``random_state``.
    estimator : callable, default theory.estimators.Plain()
        (BilevelProblem, whether L̂ is quadratic) ↦ Estimate. It is called in float64.
    progress : bool
        Show a tqdm bar of the cells.

    Returns
    -------
    Records

    Raises
    ------
    ValueError
        For an unknown quantity or one that the problem does not have, for sizes or repeats that
        are not whole numbers of at least 2, for an omega of the wrong size, and for estimates that
        are not finite.

    References
    ----------
    El Khoury, Pauwels, Vaiter, Arbel (2025), Theorem 4.1 and Corollary 4.2.
    """
    quantities = [quantities] if isinstance(quantities, str) else list(quantities)
    unknown = sorted(set(quantities) - set(QUANTITIES))
    if unknown or not quantities:
        raise ValueError(f"quantities={quantities}: choose among {sorted(QUANTITIES)}")
    sizes = _sizes(n_grid)
    if not (isinstance(n_repeats, numbers.Integral) and n_repeats >= 2):
        raise ValueError(f"n_repeats={n_repeats!r}: at least 2 repeats, a whole number, are needed")
    estimator = estimator or Plain()
    omega = problem.start(random_state) if omega is None else np.asarray(omega, float)
    points = np.atleast_2d(omega)
    shapes = ((1, problem.size), (n_repeats, problem.size))
    if points.shape not in shapes or not np.isfinite(omega).all():
        raise ValueError(
            f"omega={omega.tolist()}: {problem.name} takes {problem.size} finite numbers, or "
            f"({n_repeats}, {problem.size}) for a point of its own in each repeat"
        )
    with threadpool_limits(1, "blas"):
        truths = {
            name: [QUANTITIES[name].truth(problem, at) for at in points] for name in quantities
        }
    about = {
        "problem": problem.name, "omega": omega.tolist(), "random_state": random_state,
        "estimator": repr(estimator), "quantities": quantities, "outside": list(problem.outside),
        "error_bound": problem.error_bound, "box": [side.tolist() for side in problem.box],
        "quadratic": problem.quadratic,
        "truth_sizes": {
            name: float(np.mean([QUANTITIES[name].size(at) for at in truths[name]]))
            for name in quantities
        },
    }
    # Cells also depend on the problem, told by a sample of it, and on the estimator's fields.
    depends = fingerprint((problem.sample(8, 8, 0), vars(estimator)))
    values = problem.value_and_grad(points[0])
    kept = Store(store, {**about, "depends": depends, "truth": [values[0], *map(float, values[1])]})
    cells = [
        (n, m, block) for n, m in sizes for block in range(0, n_repeats, BLOCK)
    ]
    # Large cells first, so that no worker is left with a long one at the end.
    order = sorted(range(len(cells)), key=lambda k: (-sum(cells[k][:2]), cells[k][2]))
    work = (
        delayed(_cell)(
            problem, *cells[k], min(BLOCK, n_repeats - cells[k][2]), points, quantities, truths,
            random_state, estimator, kept,
        )
        for k in order
    )
    found = dict(zip(order, _bar(Parallel(n_jobs, return_as="generator")(work), len(cells),
                                 progress), strict=True))
    records = Records(about)
    for k in range(len(cells)):
        records.add(found[k])
    return records


def _sizes(n_grid):
    """Pairs (n, m) of whole numbers, without duplicates, in the order given."""
    pairs = [(s, s) if np.ndim(s) == 0 else tuple(s) for s in n_grid]
    for pair in pairs:
        if len(pair) != 2 or not all(
            isinstance(s, numbers.Integral) and s >= 2 for s in pair
        ):
            raise ValueError(
                f"n_grid has {pair}: sizes are whole numbers of at least 2, or pairs (n, m) of them"
            )
    if not pairs:
        raise ValueError("n_grid has no sizes")
    return list(dict.fromkeys((int(n), int(m)) for n, m in pairs))


def _bar(results, total, progress):
    if not progress:
        return results
    from tqdm.auto import tqdm

    return tqdm(results, total=total, desc="rate experiment", unit="cell")


def _cell(
    problem, n, m, block, repeats, points, quantities, truths, random_state, estimator, store
):
    """The errors of some repeats at one (n, m): read from the store, or computed and stored."""
    known = store.get(n, m, f"{block}+{repeats}")
    if known is not None:
        return known
    started = time.perf_counter()
    errors = {name: [] for name in quantities}
    # With one BLAS thread, sums are added in the same order in every worker. Estimators of a
    # user's own compute in float64 as those of theory do.
    with jax.enable_x64(True), threadpool_limits(1, "blas"):
        for repeat in range(block, block + repeats):
            sample = problem.sample(n, m, np.random.SeedSequence([random_state, n, m, repeat]))
            estimate = estimator(sample, problem.quadratic)
            if not isinstance(estimate, Estimate):
                raise ValueError(
                    f"estimator returned {type(estimate).__name__}: it must return a "
                    "theory.estimators.Estimate"
                )
            estimate = estimate.remembering(problem.size)
            k = repeat if len(points) > 1 else 0
            for name in quantities:
                error = QUANTITIES[name].error(estimate, problem, points[k], truths[name][k])
                error = np.asarray(error, float)
                if not np.isfinite(error).all():
                    raise ValueError(
                        f"{name} of repeat {repeat} at n={n}, m={m} is not finite: the estimator "
                        "failed on that sample"
                    )
                errors[name].append(error.tolist())
    cell = {"n": n, "m": m, "block": block, "errors": errors,
            "seconds": time.perf_counter() - started}
    store.put(n, m, f"{block}+{repeats}", cell)
    return cell
