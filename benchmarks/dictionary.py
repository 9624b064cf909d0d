"""Dictionary learning: both gradients of min_z ½‖x − Dz‖² + λ‖z‖₁ against the number of ISTA steps.

    python benchmarks/dictionary.py [--seeds 10]

D is 30 × 50 Gaussian with columns of length one, x Gaussian of length one, λ a tenth of ‖Dᵀx‖_∞.
g1 = ∂_D at z_K, g2 the derivative through the K steps. The truth is g1 after 200,000 steps; errors
are relative. The support is found at step S if it is that of z* from there on. Before, g2 may be
worse than g1 (the unstable regime); after, g1 falls like ρ^K and g2 like Kρ^(2K). Slopes are of log
error per step, from 1.2 S on until 1e-11. Writes results/dictionary.json, .md and .png.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
sys.path.insert(0, str(Path(__file__).parent))
from report import RESULTS, write_results

import kbo
from kbo.checkpoint import write_atomically
from kbo.datasets.bilevel import one
from kbo.hypergradients import MinMin
from kbo.optimizers import L1, proximal_gradient

STEPS = np.unique(np.geomspace(1, 20_000, 28).astype(int))
LONG = 200_000


def square(D, z, x):
    """½‖x − Dz‖²."""
    return 0.5 * ((x - D @ z) ** 2).sum()


def problem_of(seed):
    random = np.random.default_rng(seed)
    D, x = random.normal(size=(30, 50)), random.normal(size=30)
    D, x = D / np.linalg.norm(D, axis=0), x / np.linalg.norm(x)
    sample = kbo.Sample(np.zeros((1, 1)), x[None])
    problem = kbo.BilevelProblem(
        square, square, sample, sample, kbo.FeatureSpace(one), ridge=0.0, n_outputs=50
    )
    return problem, D, 0.1 * np.abs(D.T @ x).max()


def gradient(problem, D, strength, steps, which):
    rate, regularizer = 1 / np.linalg.norm(D, 2) ** 2, L1(strength)
    method = MinMin(which, steps, proximal_gradient(rate, regularizer), regularizer=regularizer)
    found = kbo.value_and_hypergradient(problem, D, method=method)
    return found.grad, np.asarray(found.inner(np.zeros((1, 1)))).ravel()


def one_seed(seed):
    problem, D, strength = problem_of(seed)
    truth, z = gradient(problem, D, strength, LONG, "analytic")
    errors, supports = {"analytic": [], "automatic": []}, []
    for K in STEPS:
        for which, found in errors.items():
            grad, last = gradient(problem, D, strength, int(K), which)
            found.append(np.linalg.norm(grad - truth) / np.linalg.norm(truth))
        supports.append(np.array_equal(last != 0, z != 0))
    wrong = [k for k, same in enumerate(supports) if not same]
    first = STEPS[wrong[-1] + 1] if wrong else STEPS[0]
    row = {"seed": seed, "support": int((z != 0).sum()), "found at": int(first)}
    for which, found in errors.items():
        late = (1.2 * first <= STEPS) & (np.array(found) > 1e-11)
        row[f"{which}, per step"] = (
            f"{np.polyfit(STEPS[late], np.log(np.array(found)[late]), 1)[0]:.4f}"
            if late.sum() > 3 else "–"
        )
    ratio = np.array(errors["automatic"]) / np.array(errors["analytic"])
    row["worst g2/g1 before"] = f"{ratio[first > STEPS].max():.2f}"
    row["g2/g1 where g1 is 1e-4"] = f"{ratio[np.argmax(np.array(errors['analytic']) < 1e-4)]:.1e}"
    return row, errors, first


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    found = [one_seed(seed) for seed in range(args.seeds)]
    write_results("dictionary", [row for row, _, _ in found])
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 4.5))
    _, errors, first = found[0]
    for which, own in errors.items():
        ax.loglog(STEPS, np.maximum(own, 1e-16), "o-", ms=3, label=which)
    ax.axvline(first, color="grey", linestyle=":", label="support found")
    ax.set(xlabel="ISTA steps", ylabel="relative error of the gradient in D")
    ax.legend()
    figure.tight_layout()
    write_atomically(RESULTS / "dictionary.png", lambda f: figure.savefig(f, format="png"))


if __name__ == "__main__":
    main()
