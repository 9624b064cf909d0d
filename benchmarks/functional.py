"""Hypergradients of kernel problems by functions and by coefficients, in float32 and float64.

    python -m benchmarks.functional [--size 500]

Kernel ridge regression and logistic regression with a Gaussian kernel and n = m points in R^3; ω is
the log lengthscale and the log ridge. Implicit solves the inner and the adjoint problem for
functions. Parametric solves the same inner problem (by the same solver), and the adjoint for the
coefficients of h, whose Hessian contains K twice: by CG (up to 1,000 steps) or by forming it.

Errors are relative to Implicit in float64 with two steps of refinement, which is itself checked
against central differences of L with ω moved by 1e-4 ("check"). Seconds are for one value and
gradient, the median of five after compilation. Writes results/functional.json, functional.md and
functional.png.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import kbo
from kbo import losses
from kbo.hypergradients import CG, Direct, Implicit, Parametric

from ._harness import Table, arguments, pyplot, timed, write_figure

jax.config.update("jax_enable_x64", True)

RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
METHODS = {
    "Implicit": Implicit(), "Parametric, CG": Parametric(CG(1000, 1e-10)),
    "Parametric, Direct": Parametric(Direct()),
}
LOSSES = {"squared": losses.Squared(), "logistic": losses.Logistic()}
STEP = 1e-4


def problem_of(loss, n, dtype):
    random = np.random.default_rng(0)
    x = random.normal(size=(2 * n, 3))
    f = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
    noisy = f + 0.3 * random.normal(size=2 * n)
    y = noisy if loss == "squared" else np.sign(noisy)
    x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    return kbo.BilevelProblem(
        LOSSES[loss], LOSSES[loss], kbo.Sample(x[:n], y[:n]), kbo.Sample(x[n:], y[n:]),
        space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w[0]))),
        ridge=lambda w: jnp.exp(w[1]),
    )


def evaluate(problem, omega, method):
    return kbo.value_and_hypergradient(
        problem, omega, method=method, solver=kbo.solvers.Exact(), throw=False
    )


def main():
    args, table = arguments(__doc__, size=500), Table("functional")
    warnings.simplefilter("ignore")
    for loss in LOSSES:
        exact = problem_of(loss, args.size, np.float64)
        for ridge in RIDGES:
            omega = np.array([0.0, np.log(ridge)])
            truth = evaluate(exact, omega, Implicit()).grad
            value = lambda w, exact=exact: evaluate(exact, w, Implicit()).value
            central = np.array([
                (value(omega + STEP * e) - value(omega - STEP * e)) / (2 * STEP) for e in np.eye(2)
            ])
            check = np.linalg.norm(truth - central) / np.linalg.norm(truth)
            for dtype in (np.float32, np.float64):
                problem = problem_of(loss, args.size, dtype)
                at = omega.astype(dtype)
                for name, method in METHODS.items():
                    found = evaluate(problem, at, method)
                    seconds = [timed(evaluate, problem, at, method)[0] for _ in range(5)]
                    error = np.linalg.norm(found.grad - truth) / np.linalg.norm(truth)
                    products = found.cost.products if found.cost else 0
                    table.add({
                        "loss": loss, "ridge": f"{ridge:g}", "dtype": np.dtype(dtype).name,
                        "method": name, "error": f"{error:.1e}", "s": f"{np.median(seconds):.3f}",
                        "products": products, "check": f"{check:.0e}",
                    })
    picture(table.rows)


def picture(rows):
    figure, axes = pyplot().subplots(2, 2, figsize=(10, 7), sharex=True)
    for row_of_axes, quantity in zip(axes, ("error", "s"), strict=True):
        for ax, loss in zip(row_of_axes, LOSSES, strict=True):
            for k, name in enumerate(METHODS):
                for dtype, style in (("float32", "--"), ("float64", "-")):
                    own = [r for r in rows if (r["loss"], r["method"], r["dtype"]) ==
                           (loss, name, dtype)]
                    x, y = ([float(r[c]) for r in own] for c in ("ridge", quantity))
                    ax.loglog(x, np.maximum(y, 1e-16), style, marker="o", ms=3, color=f"C{k}",
                              label=f"{name}, {dtype}")
            ax.set(title=f"{loss} loss", xlabel="ridge",
                   ylabel="relative error" if quantity == "error" else "seconds")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    write_figure("functional", figure)


if __name__ == "__main__":
    main()
