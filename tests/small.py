"""One small kernel problem, and the right value and gradient of it by NumPy alone."""

import jax.numpy as jnp
import numpy as np

import kbo

N, M, D = 12, 8, 2
_random = np.random.default_rng(0)
X, X_OUT = _random.normal(size=(N, D)), _random.normal(size=(M, D))
Y, Y_OUT = np.sin(X[:, 0]) + 0.1 * _random.normal(size=N), np.sin(X_OUT[:, 0])
OMEGA = np.array([0.1, -2.0])  # log lengthscale, log ridge


def space(w):
    return kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w[0])))


def ridge(w):
    return jnp.exp(w[1])


def problem(**changes):
    fields = {
        "inner_loss": kbo.losses.Squared(), "outer_loss": kbo.losses.Squared(),
        "inner_data": kbo.Sample(X, Y), "outer_data": kbo.Sample(X_OUT, Y_OUT), "space": space,
        "ridge": ridge,
    }
    return kbo.BilevelProblem(**{**fields, **changes})


def gram(a, b, lengthscale):
    return np.exp(-0.5 * np.sum((a[:, None] - b) ** 2, -1) / lengthscale**2)


def right_value(omega, x=X, y=Y, x_out=X_OUT, y_out=Y_OUT, weights=None, weights_out=None):
    """L of kernel ridge regression with the squared loss, targets (n,) or (n, p)."""
    w = np.ones(len(x)) if weights is None else weights
    v = np.ones(len(x_out)) if weights_out is None else weights_out
    lengthscale, lam = np.exp(omega[0]), np.exp(omega[1])
    A = w[:, None] * gram(x, x, lengthscale) + w.sum() * lam * np.eye(len(x))
    theta = np.linalg.solve(A, (w * y.T).T)
    errors = (gram(x_out, x, lengthscale) @ theta - y_out).reshape(len(x_out), -1)
    return 0.5 * v @ np.sum(errors**2, 1) / v.sum()


def right_grad(omega, *args, step=1e-5, **more):
    """Central differences of ``right_value``."""
    along = step * np.eye(len(omega))
    return np.array([
        (right_value(omega + e, *args, **more) - right_value(omega - e, *args, **more)) / (2 * step)
        for e in along
    ])
