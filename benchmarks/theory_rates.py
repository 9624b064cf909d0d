"""The exponents that Theorem 4.1 predicts, measured on the shipped problems.

    python -m benchmarks.theory_rates [--store FOLDER] [--jobs 2] [--problems NAME …]
        [--parts point sup controls]

Rates are measured for gradient and value at a point and over all of Ω, with n = m up to 12,800
(6,400 over Ω where a sample's L is not quadratic in ω, 1,600 for the problem of the paper; not over
Ω where the kernel depends on ω). The kernels are Gaussian, Matérn 3/2 and 5/2, and periodic Sobolev
of three orders; the inner losses are squared, logistic, Huber and Poisson. In one dimension 80
centres span the same space as 12,800 points. "limit" is the upper confidence limit of the mean
error's limit, relative to the truth; rows without it were run before it was tested, and their
verdict rests on slopes alone. The controls are wrong estimators on the problem of the paper.
"""

import time

import kbo  # first: it sets how long OpenBLAS's idle threads spin

# isort: split
import numpy as np

import theory
from theory import problems
from theory.compiled import Compiled
from theory.estimators import Dependent, OtherKernel, OtherRidge, Plain, ScaledAdjoint

from ._harness import Table, parser_of, read_results, write_results

SIZES, REPEATS = (200, 800, 3200, 12800), 500
SUP_SIZES, SUP_REPEATS = (400, 1600, 6400), 1000
PAPER_SIZES = (100, 200, 400, 800, 1600)
CENTERS = 80  # they span these spaces; "vs exact" is the difference from all points at n = 400
MADE = {
    "torus, s = 1": lambda: problems.torus_regression(1.0, ridge=1e-3),
    "torus, s = 2": lambda: problems.torus_regression(2.0, ridge=1e-4),
    "torus, s = 3": lambda: problems.torus_regression(3.0, ridge=1e-6),
    "logistic_weights": lambda: problems.logistic_weights(ridge=0.1),
    "huber_targets": lambda: problems.huber_targets(ridge=0.1),
    "poisson_rates": lambda: problems.poisson_rates(ridge=0.1),
    "kbo_paper_iv": problems.kbo_paper_iv,
    "predictive_likelihood": problems.predictive_likelihood,
    "calibrated_logistic": problems.calibrated_logistic,
}


CONTROLS = {
    "right": Plain(), "adjoint × 0.95": ScaledAdjoint(0.95), "half the adjoint": ScaledAdjoint(0.5),
    "ridge × 1.1": OtherRidge(lambda n: 1.1), "ridge as 1/n": OtherRidge(lambda n: 400 / n),
    "lengthscale 0.22": OtherKernel(kbo.kernels.Gaussian(0.22)), "√n samples": Dependent(),
}


def shown(fit):
    return "–" if fit is None else f"{fit.slope:+.3f} ± {fit.half_width:.3f}"


def difference(problem, estimator):
    """Relative difference of the gradients with centres and without, at n = 400."""
    sample, omega = problem.sample(400, 400, 0), problem.start(0)
    both = [e(sample, problem.quadratic).value_and_grad(omega)[1] for e in (estimator, Plain())]
    return np.linalg.norm(both[0] - both[1]) / np.linalg.norm(both[1])


def plan(name, problem, over_omega):
    """(quantities, sizes, repeats, estimator) for one problem."""
    everywhere = ["sup_value", "sup_grad"]
    if name == "kbo_paper_iv":
        return ["value", "grad", *everywhere], PAPER_SIZES, REPEATS, Plain()
    few = Plain(kbo.solvers.Nystrom(CENTERS))
    if problem.quadratic:
        return ["value", "grad", *everywhere], SIZES, REPEATS, few
    if over_omega:
        return everywhere, SUP_SIZES, SUP_REPEATS, Compiled(np.linspace(-1, 1, CENTERS)[:, None])
    return ["value", "grad"], SIZES, REPEATS, few


def skipped(problem, over_omega):
    """Whether not to measure the sup over Ω on its own.

    It is measured with the point if L is quadratic, and not at all if the kernel depends on ω.
    """
    return over_omega and (problem.quadratic or callable(problem.space))


def limit(fit, records, quantity):
    """Upper confidence limit of the mean error's limit, relative to the truth."""
    return f"{100 * fit.limit.largest / records.truth_size(quantity):.2g} %"


def rates(store, jobs, over_omega, names):
    """Measure one part; the file keeps the rows of the other part and of other problems."""
    known = read_results("theory_rates")
    made = {name: make for name, make in MADE.items() if name in names}
    done = [(name, q) for name, make in made.items() for q in plan(name, make(), over_omega)[0]
            if not skipped(make(), over_omega)]
    rows = [row for row in known if (row["problem"], row["quantity"]) not in done]
    for name, make in made.items():
        problem, started = make(), time.perf_counter()
        if skipped(problem, over_omega):
            continue
        quantities, sizes, repeats, estimator = plan(name, problem, over_omega)
        records = theory.run_rate_experiment(
            problem, sizes, repeats, quantities, n_jobs=jobs, store=store, progress=True,
            estimator=estimator,
        )
        for quantity in quantities:
            fit = theory.fit_rate(records, quantity)
            rows.append({
                "problem": name, "quantity": quantity, "n": f"{sizes[0]}–{sizes[-1]}",
                "repeats": repeats, "total": shown(fit.total), "bias": shown(fit.bias),
                "fluctuation": shown(fit.fluctuation),
                "holds −0.5": fit.fluctuation.contains(-0.5),
                "limit": limit(fit, records, quantity), "verdict": fit.verdict,
                "vs exact": f"{difference(problem, estimator):.0e}",
                "s": round(time.perf_counter() - started),
            })
            print(rows[-1], flush=True)
            columns = rows[-1].keys()  # rows of an earlier run may lack some
            rows = [{c: row.get(c, "–") for c in columns} for row in rows]
            write_results("theory_rates", rows)


def controls(store, jobs, repeats=50):
    problem, table = problems.kbo_paper_iv(), Table("theory_controls")
    for name, estimator in CONTROLS.items():
        started = time.perf_counter()
        records = theory.run_rate_experiment(
            problem, PAPER_SIZES, repeats, ["grad"], n_jobs=jobs, store=store, progress=True,
            estimator=estimator,
        )
        fit = theory.fit_rate(records)
        table.add({
            "estimator": name, "total": shown(fit.total), "limit": limit(fit, records, "grad"),
            "p": f"{fit.p_value:.2g}", "verdict": fit.verdict,
            "s": round(time.perf_counter() - started),
        })


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--store", help="folder for finished cells")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--problems", nargs="+", default=list(MADE), choices=MADE)
    parts = ["point", "sup", "controls"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    args = parser.parse_args()
    for part, over_omega in (("point", False), ("sup", True)):
        if part in args.parts:
            rates(args.store, args.jobs, over_omega, args.problems)
    if "controls" in args.parts:
        controls(args.store, args.jobs)


if __name__ == "__main__":
    main()
