"""SHINE compared with CG on logistic problems: directions, products with the Hessian, and time.

    python -m benchmarks.shine [--seeds 5]

The problems are multinomial regression on digits with a ridge for each of the 64 pixels, and data
cleaning with a weight for each of 600 samples (bilevel_problems.py); ω is drawn at random around
the start. All rows use QuasiNewton's inner solution.

"cosine" and "error" compare the hypergradient with that of a direct solution of the adjoint.
"products" counts those with ∂²_θθJ, and "extra" the gradients that prescribed pairs (OPA) cost in
the inner descent. "s" is the time of one value and hypergradient, the median of three, including
the inner descent from zero. OPA keeps 120 pairs and prescribes one in each step (chosen among six
settings on cleaning, seed 0); the other rows keep 60 pairs. The table has medians over seeds.
Writes results/shine.json and .md.
"""

import warnings

import jax
import numpy as np

import kbo
from kbo.hypergradients import CG, Direct, Identity, Parametric, Shine
from kbo.solvers import QuasiNewton

from ._harness import Table, arguments, timed
from .bilevel_problems import cleaning, digits_features

jax.config.update("jax_enable_x64", True)

PLAIN = QuasiNewton(tol=1e-8, memory=60)
PRESCRIBED = QuasiNewton(tol=1e-8, memory=120, prescribe=1)
METHODS = {
    "CG, 1e-8": (CG(2000, 1e-8), PLAIN), "CG, 1e-2": (CG(2000, 1e-2), PLAIN),
    "SHINE": (Shine(), PLAIN), "SHINE, 5 steps of refinement": (Shine(5), PLAIN),
    "SHINE-OPA": (Shine(), PRESCRIBED), "SHINE-OPA, 2 steps": (Shine(2), PRESCRIBED),
    "Jacobian-free": (Identity(), PLAIN),
}


def main():
    args, table = arguments(__doc__, seeds=5), Table("shine")
    warnings.simplefilter("ignore")
    for make in (digits_features, cleaning):
        found = {name: [] for name in METHODS}
        for seed in range(args.seeds):
            case = make(None, seed)
            omega = case.omega0 + np.random.default_rng(seed).normal(size=len(case.omega0))
            evaluate = lambda linear, solver, case=case, omega=omega: kbo.value_and_hypergradient(
                case.problem, omega, method=Parametric(linear), solver=solver, throw=False
            )
            exact = evaluate(Direct(), PLAIN)
            for name, (linear, solver) in METHODS.items():
                hg = evaluate(linear, solver)
                seconds = [timed(evaluate, linear, solver)[0] for _ in range(3)]
                norms = np.linalg.norm(hg.grad), np.linalg.norm(exact.grad)
                found[name].append((
                    hg.grad @ exact.grad / np.prod(norms),
                    np.linalg.norm(hg.grad - exact.grad) / norms[1], hg.cost.products,
                    hg.cost.gradients - exact.cost.gradients, np.median(seconds),
                ))
        for name, own in found.items():
            cosine, error, products, extra, seconds = np.median(own, 0)
            table.add({
                "problem": make.__name__, "method": name, "cosine": f"{cosine:.5f}",
                "error": f"{error:.1e}", "products": f"{products:.0f}", "extra": f"{extra:.0f}",
                "s": f"{seconds:.3f}",
            })


if __name__ == "__main__":
    main()
