"""Problems of networks, and functions whose gradient in function space is known."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.networks import MLP
from kbo.solvers import Gradient
from tests import helpers

CONVERGED = Gradient(steps=400, tol=1e-10, optimizer=optax.lbfgs())
AFFINE = MLP(())
FEW = Gradient(steps=5)
OMEGA = {"a": 0.7, "log_ridge": -2.0}


def iv_like(space, n=60, m=40, seed=0, **changes):
    """ω scales the inner targets and sets the ridge."""
    x, t, x_out, y = helpers.data(n, m, seed)
    problem = kbo.BilevelProblem(
        inner_loss=lambda w, v, t: 0.5 * (v - w["a"] * t) ** 2, outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y), space=space,
        ridge=lambda w: jnp.exp(w["log_ridge"]),
    )
    return problem.replace(**changes)


def quick(table, names):
    """The entries of a table, all but a few of them slow."""
    slow = pytest.mark.slow
    return [name if name in names else pytest.param(name, marks=slow) for name in table]


def functional_case(n=40):
    """ω enters the targets through five features; both samples at the same points."""
    x = np.sort(np.random.default_rng(0).uniform(-2, 2, n))[:, None]
    y = np.sin(2 * x[:, 0])
    phi = np.cos(np.arange(1, 6) * x)
    problem = kbo.BilevelProblem(
        inner_loss=lambda w, v, t: 0.5 * (v - t @ w) ** 2, outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, phi), outer_data=kbo.Sample(x, y), space=None, ridge=0.1,
    )
    omega = np.array([0.5, -0.3, 0.2, 0.4, -0.1])
    exact = phi.T @ ((phi @ omega) / 1.1 - y) / (1.1 * n)  # every value is free: h = φᵀω/(1+ridge)
    return problem, omega, exact
