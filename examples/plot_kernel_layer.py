"""
A kernel layer inside a network, trained end to end
===================================================

A network φ of one hidden layer maps ten inputs to five features; a kernel ridge regression on these
is the last layer. In each step a batch is cut in two: the kernel layer is solved on one half, and
its error is measured on the other. ``kbo.solve`` is differentiated in the weights of φ, the
lengthscale and the ridge at once. The data are Friedman's first function, in which five of the ten
inputs are noise (Friedman 1991). The dashed line is a kernel ridge regression on the inputs
themselves, tuned on a grid of 63 points. With only 300 points, which are few for a network, both
end at about the same error.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import make_friedman1
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV

import kbo

X, y = make_friedman1(600, noise=1.0, random_state=0)
X, y = (X - 0.5) / 0.29, (y - y.mean()) / y.std()
train, test = slice(0, 300), slice(300, 600)


def layer(model, x, y):
    """The kernel layer, solved on a batch whose features are those of the network."""
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(jax.vmap(model["net"])(x), y),
        kbo.Sample(jax.vmap(model["net"])(x), y), kbo.RKHS(kbo.kernels.Gaussian(1.0)),
        ridge=lambda log_ridge: jnp.exp(log_ridge),
    )
    return kbo.solve(problem, model["log_ridge"])


def error(model, x, y, x_out, y_out):
    return jnp.mean((layer(model, x, y)(jax.vmap(model["net"])(x_out)) - y_out) ** 2)


model = {"net": eqx.nn.MLP(10, 5, 32, 1, jnp.tanh, key=jax.random.key(0)),
         "log_ridge": jnp.array(-3.0)}
optimizer = optax.adamw(3e-3, weight_decay=0.1)
state = optimizer.init(eqx.filter(model, eqx.is_array))
compiled = eqx.filter_jit(eqx.filter_value_and_grad(error))
tested = eqx.filter_jit(error)
rng, curve = np.random.default_rng(0), []
for _ in range(400):
    rows = rng.permutation(300)
    half = (X[rows[:150]], y[rows[:150]], X[rows[150:]], y[rows[150:]])
    value, grad = compiled(model, *half)
    updates, state = optimizer.update(grad, state, eqx.filter(model, eqx.is_array))
    model = eqx.apply_updates(model, updates)
    curve.append((value, tested(model, X[train], y[train], X[test], y[test])))

grid = {"alpha": np.logspace(-5, 1, 7), "gamma": np.logspace(-4, 0, 9)}
rival = GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=5).fit(X[train], y[train])
plt.plot(np.array(curve), label=["held-out half of a batch", "300 test points"])
plt.axhline(np.mean((rival.predict(X[test]) - y[test]) ** 2), color="k", ls="--", label="grid")
plt.xlabel("step")
plt.ylabel("mean squared error / variance")
plt.yscale("log")
plt.legend()
plt.show()
