"""Coverage of the 95 % intervals of ``theory.hypergradient_interval`` against exact truths.

    python -m benchmarks.theory_coverage [--repeats 1000] [--jobs 2] [--only NAME …]

For each data set of n = m points it is recorded whether the interval contains the population's
value, and each entry of its gradient. This is done for the default interval (extrapolated) and for
that around the plug-in estimate (splits=0). "bias/sd" is the bias of the gradient's worst entry, in
standard deviations over the data sets. A coverage over R data sets has a standard error of
√(.95·.05/R): .011 at R = 400, .007 at R = 1,000.
"""

import os
import time

# Thousands of small programs are run, each data set on one core; threads would mostly wait.
os.environ.setdefault("JAX_CPU_ENABLE_ASYNC_DISPATCH", "false")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import kbo  # noqa: F401  first: it sets how long OpenBLAS's idle threads spin

# isort: split
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

import theory
from theory import problems

from ._harness import parser_of, read_results, write_results

COVERED = {
    "kbo_paper_iv": (problems.kbo_paper_iv, 500),
    "kbo_paper_iv, n = 200": (problems.kbo_paper_iv, 200),
    "torus, s = 1, ridge 0.1": (lambda: problems.torus_regression(1.0, ridge=0.1), 500),
    "logistic_weights": (problems.logistic_weights, 500),
    "poisson_rates, ridge 0.1": (lambda: problems.poisson_rates(ridge=0.1), 500),
    "huber_targets, ridge 0.1": (lambda: problems.huber_targets(ridge=0.1), 500),
    "predictive_likelihood": (problems.predictive_likelihood, 500),
    "calibrated_logistic": (problems.calibrated_logistic, 500),
}


def covered(problem, omega, n, seed, truth):
    """For both kinds of interval, the errors and whether the truth is inside: (2, 2, 1 + q)."""
    found = []
    with threadpool_limits(1, "blas"):
        sample = problem.sample(n, n, [n, seed])
        for settings in ({}, {"splits": 0}):
            interval = theory.hypergradient_interval(sample, omega, **settings)
            low, high = np.vstack([interval.value_interval, interval.grad_interval]).T
            error = np.append(interval.value, interval.grad) - truth
            found.append([error, (low <= truth) & (truth <= high)])
    return np.array(found, float)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(COVERED), default=list(COVERED))
    args = parser.parse_args()
    shown = lambda shares: " ".join(f"{s:.3f}" for s in shares)
    for name in args.only:
        make, n = COVERED[name]
        problem, started = make(), time.perf_counter()
        omega = problem.start(1)
        truth = np.append(*problem.value_and_grad(omega))
        found = np.array(Parallel(args.jobs)(
            delayed(covered)(problem, omega, n, seed, truth) for seed in range(args.repeats)
        ))
        errors, inside = found[:, :, 0], found[:, :, 1].mean(0)
        bias = np.abs(errors.mean(0) / errors.std(0, ddof=1))[:, 1:].max(1)
        row = {
            "problem": name, "n": n, "data sets": args.repeats, "value": shown(inside[0, :1]),
            "gradient entries": shown(inside[0, 1:]), "bias/sd": f"{bias[0]:.2f}",
            "plug-in value": shown(inside[1, :1]), "plug-in gradient": shown(inside[1, 1:]),
            "plug-in bias/sd": f"{bias[1]:.2f}", "s": round(time.perf_counter() - started),
        }
        print(row, flush=True)
        known = [r for r in read_results("theory_coverage") if r.keys() == row.keys()]
        write_results("theory_coverage", [r for r in known if r["problem"] != name] + [row])


if __name__ == "__main__":
    main()
