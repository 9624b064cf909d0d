"""Dictionary learning: two gradients of min_z ½‖x − Dz‖² + λ‖z‖₁ against the number of ISTA steps.

    python -m benchmarks.dictionary [--seeds 8]

D is a 30 × 50 Gaussian matrix with columns of length one, x a Gaussian vector of length one, and λ
a tenth of ‖Dᵀx‖_∞. g1 is ∂_D at z_K, and g2 is the derivative through the K steps. The truth is g1
after 200,000 steps; errors are relative. The support is found at step S if it is that of z* from S
on. Before S, g2 may be worse than g1 (the unstable regime); after S, g1 falls like ρ^K and g2 like
Kρ^(2K). Slopes are those of log error per step, fitted at eight K from 1.2 S on; their ratio should
be 2. Writes results/dictionary.json, dictionary.md and dictionary.png.
"""

import jax
import numpy as np

import kbo
from kbo.datasets.bilevel import one
from kbo.hypergradients import MinMin
from kbo.optimizers import proximal_gradient
from kbo.regularizers import L1

from ._harness import Table, arguments, pyplot, write_figure

jax.config.update("jax_enable_x64", True)

STEPS = np.unique(np.geomspace(1, 20_000, 28).astype(int))
LONG = 200_000
WHICH = ("analytic", "automatic")


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


def errors_at(steps, problem, D, strength, truth):
    """Relative errors (2, K) of g1 and g2, and the last iterates."""
    errors, ends = [], []
    for K in steps:
        pairs = [gradient(problem, D, strength, int(K), which) for which in WHICH]
        errors.append([np.linalg.norm(grad - truth) / np.linalg.norm(truth) for grad, _ in pairs])
        ends.append(pairs[0][1])
    return np.array(errors).T, ends


def one_seed(seed):
    problem, D, strength = problem_of(seed)
    truth, z = gradient(problem, D, strength, LONG, "analytic")
    errors, ends = errors_at(STEPS, problem, D, strength, truth)
    wrong = [k for k, end in enumerate(ends) if not np.array_equal(end != 0, z != 0)]
    first = int(STEPS[wrong[-1] + 1] if wrong else STEPS[0])
    begin = 1.2 * first
    end = max(STEPS[np.argmax(errors[1] < 1e-11)], 1.5 * begin)
    late = np.unique(np.linspace(begin, end, 8).astype(int))
    found, _ = errors_at(late, problem, D, strength, truth)
    row = {"seed": seed, "support": int((z != 0).sum()), "found at": first}
    slopes = []
    for which, own in zip(WHICH, found, strict=True):
        kept = own > 1e-13
        slopes.append(np.polyfit(late[kept], np.log(own[kept]), 1)[0])
        row[f"{which}, per step"] = f"{slopes[-1]:.4f}"
    row["ratio"] = f"{slopes[1] / slopes[0]:.2f}"
    before, later = errors[:, first > STEPS], errors[:, errors[0] > 1e-4]
    row["worst g2/g1 before"] = f"{(before[1] / before[0]).max():.2f}"
    row["g2/g1 where g1 is 1e-4"] = f"{later[1, -1] / later[0, -1]:.1e}"
    return row, errors, first


def main():
    args, table = arguments(__doc__, seeds=8), Table("dictionary")
    for seed in range(args.seeds):
        row, *curves = one_seed(seed)
        table.add(row)
        if seed == 0:
            draw(*curves)


def draw(errors, first):
    """Plot the errors of both gradients, for one seed."""
    figure, ax = pyplot().subplots(figsize=(7, 4.5))
    for which, own in zip(WHICH, errors, strict=True):
        ax.loglog(STEPS, np.maximum(own, 1e-16), "o-", ms=3, label=which)
    ax.axvline(first, color="grey", linestyle=":", label="support found")
    ax.set(xlabel="ISTA steps", ylabel="relative error of the gradient in D")
    ax.legend()
    figure.tight_layout()
    write_figure("dictionary", figure)


if __name__ == "__main__":
    main()
