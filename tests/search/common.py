"""Problems to minimise."""

import functools

import jax.numpy as jnp

import kbo
from tests import helpers


@functools.cache
def regularised(loss="squared"):
    """A problem with an interior minimum, built (and so compiled) once."""
    import jax

    with jax.enable_x64(True):
        problem, omega = helpers.folds_problem(loss)
        pull = lambda w: 0.01 * ((w["log_ridge"] + 3) ** 2 + jnp.sum(w["log_l"] ** 2))
        return problem.replace(penalty=pull), omega


def cliff_problem():
    """L is NaN beyond ω = 0.5, and falls on the way there."""
    x, t, x_out, y = helpers.data()
    return kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
        kbo.RKHS(kbo.kernels.Gaussian()), 1e-2,
        penalty=lambda w: jnp.where(w > 0.5, jnp.nan, 3.0 - w),
    )
