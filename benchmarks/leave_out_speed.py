"""Time of cross-validation from one factorisation, in units of one LAPACK Cholesky factorisation.

    python -m benchmarks.leave_out_speed

n = 2,000 points, any number of folds, one lengthscale per feature and the ridge; medians of
interleaved runs in one process. For comparison, the same folds are fitted one by one (up to
twenty).
"""

import kbo  # first: it sets how long OpenBLAS's idle threads spin, for the rival too

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from kbo.criteria import LeaveOut
from kbo.search.session import prepare

from ._harness import Table, parser_of, timed

jax.config.update("jax_enable_x64", True)

VALUE_GOAL, GRADIENT_GOAL = 3.5, 8.0


def problem(n, d):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(n, d)))
    sample = kbo.Sample(x, jnp.sin(x.sum(1)))
    return kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), sample, sample,
        lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["log_lengthscale"]))),
        lambda w: jnp.exp(w["log_alpha"]) / n,
    ), {"log_lengthscale": np.full(d, 1.0), "log_alpha": -3.0}


def refitted(p, labels):
    train = np.array([labels != fold for fold in np.unique(labels)], float)
    x, t = p.inner_data.x, p.inner_data.target
    return p.replace(
        inner_data=kbo.Sample(x, t, train), outer_data=kbo.Sample(x, t, 1 - train),
        ridge=lambda w: jnp.exp(w["log_alpha"]) / train.sum(1),
    )


def measure(n, d, folds, repeats):
    p, omega = problem(n, d)
    labels = np.sort(np.arange(n) % folds)
    criterion = LeaveOut(labels)
    x = np.asarray(p.inner_data.x) / np.e
    K = np.exp(-0.5 * scipy.spatial.distance.cdist(x, x, "sqeuclidean")) + 0.05 * np.eye(n)
    state = {}

    def lapack():
        scipy.linalg.cholesky(K, lower=True)

    def gradient(p=p, method=criterion, key="one"):
        hg = kbo.value_and_hypergradient(p, omega, method=method, state=state.get(key))
        state[key] = hg.state

    with prepare(p, omega, kbo.solvers.Exact()) as session:
        def value():
            criterion.value(session.first, state=state.get("one"))

        runs = [lapack, value, gradient]
        if folds <= 20:
            other = refitted(p, labels)
            runs.append(lambda: gradient(other, None, "refit"))
        for run in runs:
            run()
        times = np.array([[timed(run)[0] for run in runs] for _ in range(repeats)])
    return times[:, 0], np.median(times[:, 1:] / times[:, :1], axis=0)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("-n", type=int, default=2000)
    args, table = parser.parse_args(), Table("leave_out_speed")
    for folds in (2, 5, 10, 20, 200, args.n):
        lapack, ratios = measure(args.n, 10, folds, args.repeats)
        table.add({
            "n": args.n, "folds": folds, "Cholesky (ms)": f"{1e3 * np.median(lapack):.0f}",
            "value": f"{ratios[0]:.2f}", "goal": VALUE_GOAL,
            "value and gradient": f"{ratios[1]:.2f}", "goal ": GRADIENT_GOAL,
            "folds one by one": f"{ratios[2]:.2f}" if len(ratios) > 2 else "",
        })


if __name__ == "__main__":
    main()
