"""Cost of one total gradient of FuncID, and of AID with up to ten Hessian products.

    python -m benchmarks.funcid_cost [--sizes 1e3 1e4 1e5 1e6 1e7] [--outputs 1 10 100]

Both use the same inner network 20-w-w-p with N weights, on 256 + 256 points in float32; ω scales 20
features of the targets. Every call first takes one step of h. FuncID then takes ten steps of its
adjoint network (Adam), and AID up to ten products with the Hessian; each then has its reverse pass
in ω. As h is hardly trained, the Hessian is indefinite, and CG ends at the first direction without
positive curvature. The table has the number of products of the last call, including the one for the
final residual; near a minimum CG takes all ten. A Neumann series always takes ten. Seconds are
medians of nine calls after compilation, and memory is the peak of a process of its own.
Petrulionyte et al. (2024, Figure 4) claim that FuncID needs no more than AID and gains as
dimensions grow.
"""

import warnings

import kbo  # first: it sets how long OpenBLAS's idle threads spin

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kbo.hypergradients import CG, Implicit, Neumann, Parametric
from kbo.networks import MLP

from ._harness import Table, arguments, fresh, peak_memory, timed

POINTS, INPUTS, STEPS, REPEATS = 256, 20, 10, 9
METHODS = {
    "FuncID": Implicit(), "AID-CG(10)": Parametric(CG(STEPS)),
    "AID-Neumann(10)": Parametric(Neumann(STEPS, 1e-4)),
}


def width(size, p):
    """The w for which 20-w-w-p has about ``size`` weights."""
    b = INPUTS + p + 2
    return max(1, round((-b + np.sqrt(b**2 + 4 * size)) / 2))


def problem(size, p):
    rng = np.random.default_rng(0)
    x, x_out = rng.normal(size=(2, POINTS, INPUTS)).astype(np.float32)
    t, y = rng.normal(size=(2, POINTS, p)).astype(np.float32)
    w = width(size, p)
    return kbo.BilevelProblem(
        inner_loss=kbo.losses.SquaredTo(lambda w, t: t * (1 + jnp.mean(w))),
        outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y),
        space=kbo.NeuralSpace(MLP((w, w))), ridge=0.1, n_outputs=p,
    )


def measure(name, size, p):
    """Seconds of one hypergradient, and the peak memory of this process."""
    asked, omega = problem(size, p), np.zeros(INPUTS, np.float32)
    solver = kbo.solvers.Gradient(1, adjoint_steps=STEPS, optimizer=optax.adam(1e-3))
    state, times = None, []
    warnings.simplefilter("ignore")  # the warnings that the Hessian is indefinite
    for _ in range(REPEATS + 1):
        seconds, hg = timed(
            kbo.value_and_hypergradient, asked, omega, solver=solver, method=METHODS[name],
            state=state, throw=False,
        )
        times.append(seconds)
        state = hg.state
    weights = sum(leaf.size for leaf in jax.tree.leaves(state.inner.params))
    products = getattr(hg.cost, "products", 0)
    return {
        "weights": weights, "s": np.median(times[1:]), "MiB": peak_memory(), "products": products,
    }


def main():
    args = arguments(__doc__, sizes=[1e3, 1e4, 1e5, 1e6, 1e7], outputs=[1, 10, 100])
    table = Table("funcid_cost")
    for p in args.outputs:
        for size in args.sizes:
            found = {name: fresh(measure, name, size, p, limit=600) for name in METHODS}
            if any(cell is None for cell in found.values()):
                continue
            ours, *theirs = found.values()
            table.add({
                "weights": ours["weights"], "outputs": p,
                **{f"{n}, s": f"{c['s']:.4f}" for n, c in found.items()},
                **{f"{n}, MiB": f"{c['MiB']:.0f}" for n, c in found.items()},
                "products of CG": theirs[0]["products"],
                "time over CG's": f"{ours['s'] / theirs[0]['s']:.2f}",
                "over Neumann's": f"{ours['s'] / theirs[1]['s']:.2f}",
            })


if __name__ == "__main__":
    main()
