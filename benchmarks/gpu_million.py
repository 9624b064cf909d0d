"""A million points on one GPU: one value and hypergradient, and a whole tuning.

    python -m benchmarks.gpu_million [--points N] [--centers M]

n = 1,000,000, d = 20, M = 10,000, 1 % of the points held out, 20 lengthscales and the ridge, by
Falkon. It reports the seconds of a step, of one pass over the rows (K evaluated, both products) and
of ten L-BFGS steps. The FLOP/s of that pass, counting 2d + 5 for a kernel entry and 4 for its two
products, are shown beside the device's measured limits: a float64 matrix product and a copy. It
stops with a message if JAX sees no GPU.
"""

import jax
import jax.numpy as jnp
import numpy as np

import kbo
from kbo.linalg.sharding import row_normal_matmul
from kbo.solvers._newton.mesh_rows import default_mesh

from ._harness import Table, arguments, timed

DIM = 20


def seconds(function, *args):
    """The time of a second call, when everything is compiled."""
    run = lambda: jax.block_until_ready(function(*args))
    run()
    return timed(run)[0]


def ceilings():
    """(float64 FLOP/s of a matrix product, bytes/s of a copy)."""
    a = jnp.ones((8192, 8192))
    product = 2 * 8192**3 / seconds(jax.jit(jnp.matmul), a, a)
    long = jnp.ones(2**28)
    return product, 2 * long.nbytes / seconds(jax.jit(lambda x: x + 1.0), long)


def main():
    args = arguments(__doc__, points=1_000_000, centers=10_000)
    if jax.default_backend() != "gpu":
        raise SystemExit("JAX sees no GPU: install jax[cuda13] on a machine that has one")
    jax.config.update("jax_enable_x64", True)
    n, M = args.points, args.centers
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, DIM))
    y = np.sin(X[:, :4].sum(1)) + 0.1 * rng.normal(size=n)
    held = n // 100
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(X[held:], y[held:]),
        kbo.Sample(X[:held], y[:held]), lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))),
        lambda w: jnp.exp(w["r"]),
    )
    solver = kbo.solvers.Falkon(X[held : held + M], tol=1e-5)
    omega = {"l": np.full(DIM, np.log(4.0)), "r": np.log(1e-6)}
    kbo.value_and_hypergradient(problem, omega, solver=solver)
    # It starts from zero again.
    step, hg = timed(kbo.value_and_hypergradient, problem, omega, solver=solver)
    tuning, result = timed(
        kbo.minimize, problem, omega, solver=solver, throw=False,
        optimizer=kbo.optimizers.LBFGS(max_steps=10),
    )
    flops, bandwidth = ceilings()
    one = jnp.ones((M, 1, 1)), jnp.ones((n - held, 1, 1, 1))
    kernel, mesh = kbo.kernels.Gaussian(np.full(DIM, 4.0)), default_mesh()
    points, centers = jnp.asarray(X[held:]), jnp.asarray(X[held : held + M])
    one_pass = seconds(jax.jit(
        lambda x, z, a, c: row_normal_matmul(kernel, x, z, a, c, mesh)[0]
    ), points, centers, *one)
    achieved = (n - held) * M * (2 * DIM + 9) / one_pass
    Table("gpu_million").add({
        "device": jax.devices()[0].device_kind, "n": n, "d": DIM, "M": M, "step s": round(step, 2),
        "ten steps s": round(tuning, 1), "L start": f"{hg.value:.5g}",
        "L end": f"{result.value:.5g}", "matmul TFLOP/s": round(flops / 1e12, 1),
        "copy GB/s": round(bandwidth / 1e9), "pass s": round(one_pass, 3),
        "pass TFLOP/s": round(achieved / 1e12, 2),
    })


if __name__ == "__main__":
    main()
