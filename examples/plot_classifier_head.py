"""
A Gaussian-process-like classifier head on a network's features
===============================================================

The head is a kernel classifier: h minimises the multinomial loss plus (ridge/2)‖h‖², which is the
mode of a Gaussian process classifier. ``kbo.solve`` finds it by Newton's method inside the compiled
training step, and differentiates it in the weights of the network below, without going through
Newton's steps. The data are 240 of scikit-learn's digits 4, 7 and 9: the head is fitted to 90 of
them, the network is trained to predict 60 others, and 90 are for the figure.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import kbo

X, labels = load_digits(return_X_y=True)
chosen = np.isin(labels, [4, 7, 9])
X, y = X[chosen][:240] / 16 - 0.3, np.searchsorted([4, 7, 9], labels[chosen][:240])
head, held, test = slice(0, 90), slice(90, 150), slice(150, 240)


def scores(model, x):
    """The head's scores (k, 3) at inputs x."""
    features = jax.vmap(model["net"])
    problem = kbo.BilevelProblem(
        kbo.losses.Multinomial(), kbo.losses.Multinomial(),
        kbo.Sample(features(X[head]), y[head]), kbo.Sample(features(X[held]), y[held]),
        kbo.RKHS(kbo.kernels.Matern52(1.0)), ridge=lambda log_ridge: jnp.exp(log_ridge),
        n_outputs=3,
    )
    return kbo.solve(problem, model["log_ridge"])(features(x))


def log_loss(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(scores(model, x), y).mean()


model = {"net": eqx.nn.MLP(64, 2, 16, 1, jnp.tanh, key=jax.random.key(1)),
         "log_ridge": jnp.array(-4.0)}
optimizer = optax.adam(1e-2)
state = optimizer.init(eqx.filter(model, eqx.is_array))
compiled = eqx.filter_jit(eqx.filter_value_and_grad(log_loss))
start, tested = model, eqx.filter_jit(scores)
for _ in range(60):
    value, grad = compiled(model, X[held], y[held])
    updates, state = optimizer.update(grad, state)
    model = eqx.apply_updates(model, updates)

figure, axes = plt.subplots(1, 2, figsize=(9, 4))
for ax, now, name in zip(axes, (start, model), ("before", "after"), strict=True):
    points = np.asarray(jax.vmap(now["net"])(X[test]))
    share = np.mean(np.asarray(tested(now, X[test])).argmax(1) == y[test])
    ax.scatter(*points.T, c=y[test], cmap="viridis")
    ax.set(title=f"{name} training: {share:.0%} of 90 test digits right", xlabel="feature 1")
axes[0].set_ylabel("feature 2")
plt.show()
