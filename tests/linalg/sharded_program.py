"""Run by test_sharding in processes of their own: prints what a mesh of all devices computes.

    python sharded_program.py LOSSES [PROCESS COUNT PORT]
"""

import json
import sys

import jax

if len(sys.argv) > 2:
    process, count, port = sys.argv[2:]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(count), int(process))
jax.config.update("jax_enable_x64", True)

import numpy as np

import kbo
from kbo.solvers import Falkon, Nystrom
from tests import helpers

centers = np.random.default_rng(0).normal(size=(20, helpers.D))
mesh = jax.make_mesh((len(jax.devices()),), ("rows",))
found = {"devices": len(jax.devices())}
for loss in sys.argv[1].split(","):
    problem, omega = helpers.everything_problem("gaussian_ard", loss, 101, 30)  # 101: no multiple
    solvers = {
        "nystrom": Nystrom(centers, mesh=mesh),
        "falkon": Falkon(centers, mesh=mesh, mixed=False),
        "mixed": Falkon(centers, mesh=mesh),
    }
    for name, solver in solvers.items():
        hg = kbo.value_and_hypergradient(problem, omega, solver=solver)
        key = f"{loss} {name}"
        found[key] = [hg.value, *helpers.flat(hg.grad).tolist(), hg.error_bound]
result = kbo.minimize(
    *helpers.folds_problem(), solver=Nystrom(centers[:9], mesh=mesh),
    optimizer=kbo.optimizers.LBFGS(max_steps=3),
)
found["minimize"] = [result.value, *helpers.flat(result.omega).tolist()]
print(json.dumps(found))
