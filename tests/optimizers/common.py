"""What the tests of several optimisers share."""

import jax.numpy as jnp
import numpy as np

import kbo
from kbo.solvers import QuasiNewton


class Recording(QuasiNewton):
    """Notes the tolerance of every solve."""

    seen: list = None

    def solve(self, instance, state=None):
        self.seen.append(float(self.tol))
        return QuasiNewton.solve(self, instance, state)


def logistic():
    rng = np.random.default_rng(0)
    x, x_out = rng.normal(size=(2, 60, 5))
    label = lambda x: np.sign(x @ np.ones(5) + rng.normal(size=60))
    return kbo.BilevelProblem(
        kbo.losses.Logistic(), kbo.losses.Logistic(), kbo.Sample(x, label(x)),
        kbo.Sample(x_out, label(x_out)), kbo.FeatureSpace(lambda x: x), jnp.exp,
    )
