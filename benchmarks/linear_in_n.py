"""Cost and memory of one Nyström value and hypergradient as n grows, and over 1 to 8 shards.

    python -m benchmarks.linear_in_n

d = 10, M = 500, 10 lengthscales and the ridge, a tenth of the points held out; K_nM is never stored
(memory=0). "bytes a point" is the growth from one n to the next, per point, of the peak memory
beyond the data: a few vectors of length n. Shards are virtual devices of one CPU, with n = 50,000;
"MiB summed" is what the all-reduces of a step move per device, from the sizes of the arrays. Each
row is a process of its own.
"""

import os

import numpy as np

from ._harness import Table, arguments, fresh, peak_memory, timed

DIM, CENTERS = 10, 500


def measure(n, shards=0):
    """Seconds, MiB above the data, and value of one step."""
    if shards:  # to be set before JAX starts
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={shards}"
    import jax

    import kbo

    jax.config.update("jax_enable_x64", True)

    def problem_of(n):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(n, DIM))
        y = np.sin(X.sum(1)) + 0.1 * rng.normal(size=n)
        held = n // 10
        return X[held:], kbo.BilevelProblem(
            kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(X[held:], y[held:]),
            kbo.Sample(X[:held], y[:held]), lambda w: kbo.RKHS(kbo.kernels.Gaussian(w["l"])),
            lambda w: w["r"],
        )

    mesh = jax.make_mesh((shards,), ("rows",)) if shards else None

    def step(problem, centers, state, shift=0.0):
        omega = {"l": (3.0 + shift) * np.ones(DIM), "r": 1e-6}
        solver = kbo.solvers.Nystrom(centers, memory=0, mesh=mesh)
        return kbo.value_and_hypergradient(problem, omega, solver=solver, state=state)

    X, small = problem_of(5000)
    step(small, X[:CENTERS], None)  # so that all that does not depend on n is in memory already
    X, problem = problem_of(n)
    jax.block_until_ready(problem)
    centers, before = np.array(X[:CENTERS]), peak_memory()
    hg = step(problem, centers, None)
    seconds = []
    for k in range(3):
        took, hg = timed(step, problem, centers, hg.state, 1e-3 * k)
        seconds.append(took)
    value = step(problem, centers, None).value
    return {"s": sorted(seconds)[1], "above": peak_memory() - before, "value": value}


def main():
    arguments(__doc__)
    table, last = Table("linear_in_n"), None
    for n in (10_000, 100_000, 1_000_000):
        found = fresh(measure, n) | {"n": n}
        row = {"n": n, "s": round(found["s"], 2), "MiB above data": round(found["above"])}
        row |= {"slope": "", "bytes a point": ""}
        if last is not None:
            row["slope"] = round(np.log10(found["s"] / last["s"]), 3)
            growth = 2**20 * (found["above"] - last["above"])
            row["bytes a point"] = round(growth / (n - last["n"]))
        last = found
        table.add(row)
    table = Table("shards")
    for shards in (1, 2, 4, 8):
        found = fresh(measure, 50_000, shards)
        table.add({
            "shards": shards, "s": round(found["s"], 2), "value": f"{found['value']:.15g}",
            "MiB summed": round(8 * CENTERS * (CENTERS + 10) / 2**20, 2) if shards > 1 else 0.0,
        })


if __name__ == "__main__":
    main()
