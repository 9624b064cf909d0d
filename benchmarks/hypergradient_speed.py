"""One value and hypergradient against the LAPACK Cholesky factorisations that it needs.

    python -m benchmarks.hypergradient_speed

n points, F of 5 folds, one lengthscale per feature and the ridge. Times are medians of interleaved
runs in one process; compile time is listed separately. The rival is scipy.linalg.cholesky on
training sets of the same sizes.
"""

import kbo  # first: it sets how long OpenBLAS's idle threads spin, for the rival too

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ._harness import Table, arguments, timed

jax.config.update("jax_enable_x64", True)

CASES = [(1500, 26, 5, 2.0), (3000, 20, 1, 1.5), (3000, 20, 5, 1.5)]  # n, d, folds, goal


def problem(n, d, folds):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(n, d)))
    train = np.ones((5, n))
    for f, rows in enumerate(np.array_split(np.arange(n), 5)):
        train[f, rows] = 0
    train = train[:folds]
    return kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(),
        kbo.Sample(x, jnp.sin(x.sum(1)), train), kbo.Sample(x, jnp.sin(x.sum(1)), 1 - train),
        lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["log_lengthscale"]))),
        lambda w: jnp.exp(w["log_alpha"]) / (0.8 * n),
    ), {"log_lengthscale": np.full(d, 1.5), "log_alpha": -3.0}


def measure(n, d, folds, repeats):
    p, omega = problem(n, d, folds)
    state = [None]

    def ours():
        state[0] = kbo.value_and_hypergradient(p, omega, state=state[0]).state

    first, _ = timed(ours)
    size = int(0.8 * n)
    x = np.asarray(p.inner_data.x)[:size] / np.exp(1.5)
    K = np.exp(-0.5 * scipy.spatial.distance.cdist(x, x, "sqeuclidean")) + 0.05 * np.eye(size)

    def lapack():
        for _ in range(folds):
            scipy.linalg.cholesky(K, lower=True)

    lapack()
    ours()
    times = np.array([(timed(ours)[0], timed(lapack)[0]) for _ in range(repeats)])
    a, b = np.median(times, axis=0)
    return a, b, float(np.median(times[:, 0] / times[:, 1])), first - a


def main():
    args, table = arguments(__doc__, repeats=15), Table("hypergradient_speed")
    for n, d, folds, goal in CASES:
        ours, lapack, ratio, compile_time = measure(n, d, folds, args.repeats)
        table.add({
            "n": n, "d": d, "folds": folds, "value and gradient (ms)": f"{1e3 * ours:.0f}",
            "Cholesky alone (ms)": f"{1e3 * lapack:.0f}", "ratio": f"{ratio:.2f}",
            "goal": f"{goal}", "compile (s)": f"{compile_time:.1f}",
        })


if __name__ == "__main__":
    main()
