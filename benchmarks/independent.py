"""kbo beside independent implementations of bilevel optimisation from the package index.

    python -m benchmarks.independent --python RIVALS/bin/python [--seeds 5] [--only NAME …]

RIVALS is a virtual environment without kbo, made by

    python -m venv RIVALS
    RIVALS/bin/pip install torch    # a build for the CPU is enough
    RIVALS/bin/pip install optimistix jaxopt gradhpo torchopt matplotlib 'pip<24.1'
    RIVALS/bin/pip install --no-deps boat-torch higher betty-ml==0.1.1

BOAT asks for a NumPy that is too old for JAX, and the metadata of this Betty are refused by newer
pips. Committed: optimistix 0.1.0, jaxopt 0.8.5, torchopt 0.7.3, torch 2.13.0, boat-torch 1.1.1,
gradhpo 0.1.3. A rival whose package is missing is left out, which is said.

Problems (independent_problems.py): ridge regression with a log-penalty for each of 20 features (200
+ 200 rows), logistic regression with one for each of 50 (500 + 500 rows), both in a box, and the
quadratics of kbo.datasets.make_bilevel_quadratics (1,024 samples, 100 inner and 10 outer numbers).
Data and start come from NumPy and are the same for all; float64, one thread, a process for every
library and problem.

"error" is that of the hypergradient at the start, relative to a NumPy implementation here: its
closed form (ridge, quadratics), or differences of its L (logistic), which are good to about 1e-11.
"ms" is the median time of one value and hypergradient, after a warm-up, with an inner start at
zero. Then SciPy's L-BFGS-B searches from the same start with at most 30 values and gradients
("calls"), where each library starts from its last inner solution if it can. "suboptimality" is
(L − min L)/(L(ω0) − min L) at the lowest of them, L by NumPy, and "s" is the time of the search.
min L is known (quadratics), or the lowest that anyone here or a long search by NumPy found. Cells
are medians over seeds, with the range.

What differs. The inner tolerance is 1e-8, in each library's own measure: a relative residual
(kbo), the last step (optimistix), the norm of the gradient (jaxopt, torch).

* "kbo" is value_and_hypergradient as it comes, which reads and checks the problem in every call;
  "kbo, CG" and "kbo, Direct" have Parametric with that linear solver and QuasiNewton; "kbo,
  compiled" is jax.jit of kbo.outer_objective, which has no warm start. The first and the last
  refuse the quadratics, whose ridge is 0.
* optimistix: Newton or BFGS, both with ImplicitAdjoint; the Hessian is tagged as positive, so that
  lineax takes Cholesky. jaxopt: its L-BFGS with the adjoint as it comes (conjugate gradients to
  1e-5) or by Cholesky; and custom_root around a Newton method that is written in
  independent_libraries.py. All jitted.
* torchopt: custom_root around torch's L-BFGS, which also ends at steps of 1e-12 (at 1e-14 some
  searches take ten times as long), or around the same Newton method; the adjoint by CG to 1e-8.
  It is not compiled, as in its documentation.
* BOAT (NGD + CG) and Betty (neumann): a fixed number of gradient steps, 400 or (logistic) 800, with
  momentum and the rate 1/(largest curvature at ω), chosen on seed 0 so that the inner problems are
  solved; Betty's series has as many terms. Their times are those of steps in Python. Betty is
  release 0.1.1, since newer ones want Python < 3.11; its cg does not converge (its directions come
  from the residual before the last one).
* gradhpo (Greedy, 20 steps a call) is approximate by design: a number stands for the inverse
  Hessian, for many short stochastic steps. L-BFGS, whose line search wants gradients that fit the
  values, is not what it is made for. It keeps its weights and has had 100 calls at the start before
  it is measured; its gamma is the best of 0.01, 0.5, 0.9 (the default), 0.99, 1 on seed 0.

benchopt's benchmark_bilevel is left out: two of its solvers wrap jaxopt, which is here; the others
are single loops, which have no hypergradient at a given ω. Writes results/independent.json and .md.
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu",
}

import numpy as np

from . import independent_libraries as made
from ._harness import Table, fresh, parser_of, timed
from .independent_problems import BOUNDS, Reference, draw, minimized

CALLS = 30
LIBRARIES = {
    "kbo": (made.with_kbo, None),
    "kbo, CG": (made.with_kbo, "CG"),
    "kbo, Direct": (made.with_kbo, "Direct"),
    "kbo, compiled": (made.with_kbo, "compiled"),
    "optimistix, Newton": (made.with_optimistix, "Newton"),
    "optimistix, BFGS": (made.with_optimistix, "BFGS"),
    "jaxopt, L-BFGS": (made.with_jaxopt, "default"),
    "jaxopt, L-BFGS, Cholesky": (made.with_jaxopt, "Cholesky"),
    "jaxopt, custom_root": (made.with_jaxopt, "custom_root"),
    "torchopt, L-BFGS": (made.with_torchopt, "L-BFGS"),
    "torchopt, Newton": (made.with_torchopt, "Newton"),
    "BOAT, NGD + CG": (made.with_boat, None),
    "Betty, neumann": (made.with_betty, None),
    "gradhpo, Greedy": (made.with_gradhpo, None),
}
REFUSED = [("quadratics", "kbo"), ("quadratics", "kbo, compiled")]


# One library and problem, in a process of its own


def measure(name, problem, folder, seeds):
    """For each seed: the gradient at the start, the time of a call, and the end of a search."""
    make, kind = LIBRARIES[name]
    stored = (np.load(Path(folder) / f"{problem}{seed}.npz") for seed in range(seeds))
    return [one(make, problem, dict(data), kind) for data in stored]


def one(make, problem, data, kind):
    evaluate, start = make(problem, data, kind), data["start"]
    cold = lambda: np.asarray(evaluate(start, None)[1])
    gradient, seconds, until = cold(), [], time.perf_counter() + 2
    while len(seconds) < 5 or (len(seconds) < 100 and time.perf_counter() < until):
        seconds.append(timed(cold)[0])
    evaluate(start, evaluate(start, None)[2])  # compiles the warm start
    took, (omega, calls) = timed(search, evaluate, start, problem)
    return {"gradient": gradient.tolist(), "ms": 1e3 * np.median(seconds), "s": took,
            "omega": omega.tolist(), "calls": calls}


class Spent(Exception):
    """All calls of a search are made."""


def search(evaluate, start, problem):
    """L-BFGS-B with at most CALLS evaluations: the best ω, and their number."""
    memory, seen = None, []

    def function(omega):
        nonlocal memory
        if len(seen) == CALLS:
            raise Spent
        value, grad, memory = evaluate(omega, memory)
        seen.append((float(value), omega.copy()))
        return seen[-1][0], np.asarray(grad, float)

    with contextlib.suppress(Spent):
        minimized(function, start, problem)
    return min(seen, key=lambda pair: pair[0])[1], len(seen)


# All of them


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--python", default=sys.executable, help="has the rivals")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(LIBRARIES), metavar="NAME")
    args, table = parser.parse_args(), Table("independent")
    with tempfile.TemporaryDirectory() as folder:
        for problem in BOUNDS:
            references = []
            for seed in range(args.seeds):
                references.append(Reference(problem, draw(problem, seed)))
                np.savez(Path(folder) / f"{problem}{seed}.npz", **references[-1].data)
            found = {}
            for name in args.only:
                if (problem, name) in REFUSED:
                    continue
                python = sys.executable if name.startswith("kbo") else args.python
                try:
                    found[name] = fresh(measure, name, problem, folder, args.seeds, python=python)
                except ModuleNotFoundError as missing:
                    print(f"{name} is left out: {missing}", flush=True)
            for row in rows(problem, references, found):
                table.add(row)


def rows(problem, references, found):
    """A row for each library."""
    truths, scales = [], []
    for k, reference in enumerate(references):
        start = reference.data["start"]
        truths.append(reference.oracle(start))
        reached = [reference.value(np.array(own[k]["omega"])) for own in found.values()]
        best = minimized(reference.value_and_gradient, start, problem).fun
        lowest = float(reference.data.get("lowest", min([best, *reached])))
        scales.append((lowest, reference.value(start) - lowest))
    for name, own in found.items():
        errors = [np.linalg.norm(r["gradient"] - truth) / np.linalg.norm(truth)
                  for r, truth in zip(own, truths, strict=True)]
        gaps = [max(reference.value(np.array(r["omega"])) - lowest, 0.0) / scale
                for reference, r, (lowest, scale) in zip(references, own, scales, strict=True)]
        yield {
            "problem": problem, "library": name, "error": shown(errors, "{:.0e}"),
            "ms": shown([r["ms"] for r in own], "{:.3g}"),
            "suboptimality": shown(gaps, "{:.0e}"),
            "calls": shown([r["calls"] for r in own], "{:.0f}"),
            "s": shown([r["s"] for r in own], "{:.2g}"),
        }


def shown(numbers, form):
    """Median and range."""
    middle, low, high = (form.format(f(numbers)) for f in (np.median, np.min, np.max))
    return middle if low == high else f"{middle} ({low}–{high})"


if __name__ == "__main__":
    main()
