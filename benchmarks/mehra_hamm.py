"""Which methods solve which of the four synthetic problems of Mehra and Hamm (2021).

    python -m benchmarks.mehra_hamm [--trials 20] [--steps 1500]

u and v start uniformly in [−5, 5]^10. Every method moves u by Adam (rate 0.1, falling to a tenth
over the run) with the gradients that it computes. GD alternates steps of v on J and of u on L, and
ignores that v depends on u. "solved" counts the trials that end within 1e-2 of the set of
solutions; "error" is the median distance. In problems 3 and 4 the inner Hessian is singular. Writes
results/mehra_hamm.json and mehra_hamm.md.
"""

import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax

import kbo
from kbo.datasets import make_mehra_hamm
from kbo.hypergradients import BOME, F2SA, AmIGO, Penalty, Stepper, Unrolled
from kbo.hypergradients.single_loop.sampler import descend
from kbo.optimizers import Optax

from ._harness import Table, arguments

jax.config.update("jax_enable_x64", True)

RATES = {1: 0.2, 2: 0.2, 3: 0.01, 4: 0.01}  # step sizes for θ, below 1/‖∂²J‖


class Alternating(Stepper):
    """Ten steps of θ on J, then ∂_ωL."""

    def init(self, batches, omega, theta):
        return ()

    def step(self, batches, count, omega, theta, memory):
        theta = descend(batches, omega, theta, self.rate, 10)
        return jax.grad(batches.outer(0))(omega, theta), theta, ()

    def passes(self, blocks):
        return 10, 0


def methods(rate):
    return {
        "GD": Alternating(rate),
        "ITD (RMD), 10 steps": Unrolled(10, optax.sgd(rate)),
        "AID (ApproxGrad), 10 steps": AmIGO(rate, steps=10, adjoint_steps=10),
        "Penalty": Penalty(None, steps=50),
        "Penalty, ν = 0": Penalty(None, steps=50, lagrangian=False),
        "F2SA": F2SA(rate, multiplier=lambda k: 1 + 0.1 * k),
        "BOME": BOME(rate),
    }


def main():
    args, table = arguments(__doc__, trials=20, steps=1500), Table("mehra_hamm")
    warnings.simplefilter("ignore")
    falling = optax.exponential_decay(0.1, args.steps, 0.1)
    for example, rate in RATES.items():
        for name, method in methods(rate).items():
            # BOME takes steps of the same size in u and v.
            outer = optax.sgd(rate) if name == "BOME" else optax.adam(falling)
            errors, started = [], time.perf_counter()
            for seed in range(args.trials):
                made = make_mehra_hamm(example, random_state=seed)
                found = kbo.minimize(
                    made.problem, jnp.asarray(made.omega0), method=method, throw=False,
                    optimizer=Optax(outer, max_steps=args.steps, tol=0.0),
                )
                usable = found.status.usable
                errors.append(made.error(found.omega, found.function) if usable else np.inf)
            table.add({
                "problem": example, "method": name,
                "solved": f"{sum(e < 1e-2 for e in errors)}/{args.trials}",
                "error": f"{np.median(errors):.1e}",
                "s": f"{(time.perf_counter() - started) / args.trials:.1f}",
            })


if __name__ == "__main__":
    main()
