"""kbo.solve inside JAX programs against the same program written by hand.

    python -m benchmarks.solve

Value and gradient in d lengthscales and the ridge of the error, on n/2 points, of kernel ridge
regression on n points. The rival forms the kernel matrix, calls jax.scipy.linalg.cho_solve and
lets JAX differentiate it. "jitted" is jax.jit(jax.value_and_grad(…)) of either; "tasks" is the
same under jax.vmap over 100 problems; "value, eager" is kbo.outer_objective(problem)(omega) called
from Python, and "gradient, eager" jax.value_and_grad of it, beside that of the rival's jitted
function. The last column is kbo.value_and_hypergradient, which factorises on the host. Times are
medians of interleaved runs in one process, without compilation.
"""

import kbo  # first: it sets how long OpenBLAS's idle threads spin, for the rival too

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_factor, cho_solve

from ._harness import Table, arguments, timed

jax.config.update("jax_enable_x64", True)

SIZES = [(20, 2, 1000), (200, 5, 100), (1000, 5, 15)]  # n, d, repeats
TASKS = [(20, 2, 50), (50, 2, 30)]
COLUMNS = [
    "by hand, jitted (µs)", "kbo, jitted (µs)", "value, eager (µs)",
    "gradient, eager, by hand (µs)", "gradient, eager, kbo (µs)", "value_and_hypergradient (µs)",
]


def sample(n, d, seed=0):
    rng = np.random.default_rng(seed)
    x, x_out = rng.normal(size=(n, d)), rng.normal(size=(n // 2, d))
    y = np.sin(x.sum(1)) + 0.1 * rng.normal(size=n)
    return tuple(map(jnp.asarray, (x, y, x_out, np.sin(x_out.sum(1)))))


def problem(x, y, x_out, y_out):
    return kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, y), kbo.Sample(x_out, y_out),
        lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["log_lengthscale"]))),
        lambda w: jnp.exp(w["log_ridge"]),
    )


def by_hand(x, y, x_out, y_out):
    def gram(a, b, lengthscale):
        a, b = a / lengthscale, b / lengthscale
        squares = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * a @ b.T
        return jnp.exp(-0.5 * jnp.maximum(squares, 0.0))

    def objective(w):
        lengthscale, n = jnp.exp(w["log_lengthscale"]), len(x)
        system = gram(x, x, lengthscale) + n * jnp.exp(w["log_ridge"]) * jnp.eye(n)
        theta = cho_solve(cho_factor(system), y)
        return 0.5 * jnp.mean((gram(x_out, x, lengthscale) @ theta - y_out) ** 2)

    return objective


def medians(functions, repeats):
    """Median seconds of each, interleaved."""
    run = lambda function: timed(lambda: jax.block_until_ready(function()))[0]
    for function in functions:
        run(function)
    return np.median([[run(function) for function in functions] for _ in range(repeats)], axis=0)


def agreement(left, right):
    a, b = (np.asarray(ravel_pytree(tree)[0]) for tree in (left, right))
    return float(np.abs(a - b).max() / np.abs(b).max())


def one_problem(n, d, repeats):
    """The row of one problem."""
    data, omega = sample(n, d), {"log_lengthscale": jnp.zeros(d), "log_ridge": jnp.array(-3.0)}
    ours, hand = kbo.outer_objective(problem(*data)), jax.jit(by_hand(*data))
    compiled, rival = (jax.jit(jax.value_and_grad(f)) for f in (ours, hand))
    times = medians([
        lambda: rival(omega), lambda: compiled(omega), lambda: ours(omega),
        lambda: jax.value_and_grad(hand)(omega), lambda: jax.value_and_grad(ours)(omega),
        lambda: kbo.value_and_hypergradient(problem(*data), omega).grad,
    ], repeats)
    return row(n, d, 1, agreement(compiled(omega), rival(omega)), times)


def many_tasks(n, d, repeats, count=100):
    """The row of problems of one shape, under jax.vmap."""
    several = zip(*(sample(n, d, k) for k in range(count)), strict=True)
    tasks = [jnp.stack(part) for part in several]
    omega = {"log_lengthscale": jnp.zeros(d), "log_ridge": jnp.array(-3.0)}

    def batched(make):
        each = jax.vmap(jax.value_and_grad(lambda w, data: make(*data)(w)), (None, 0))
        return jax.jit(each)

    compiled = batched(lambda *data: kbo.outer_objective(problem(*data)))
    rival = batched(by_hand)
    times = medians([lambda: rival(omega, tasks), lambda: compiled(omega, tasks)], repeats)
    return row(n, d, count, agreement(compiled(omega, tasks), rival(omega, tasks)), times)


def row(n, d, tasks, difference, times):
    micro = [f"{1e6 * seconds:.0f}" for seconds in times] + [""] * (len(COLUMNS) - len(times))
    return {
        "n": n, "d": d, "tasks": tasks, "difference": f"{difference:.0e}",
        "kbo / by hand, jitted": f"{times[1] / times[0]:.2f}",
        **dict(zip(COLUMNS, micro, strict=True)),
    }


def main():
    arguments(__doc__)
    table = Table("solve")
    for case in SIZES:
        table.add(one_problem(*case))
    for case in TASKS:
        table.add(many_tasks(*case))


if __name__ == "__main__":
    main()
