"""
Few-shot regression: one representation, a ridge head for each task
===================================================================

Each task is a sine wave of its own amplitude and phase, known at ten points (Finn, Abbeel, Levine
2017). A network's features are common to all tasks, and a ridge regression on them is each task's
own: ``jax.vmap`` solves the heads of 50 tasks at once, and one gradient trains the features through
all of them (Bertinetto, Henriques, Torr, Vedaldi 2019). Shown is a task that was never seen.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import kbo


def tasks(key, count, shots=10, queries=20):
    """Points and values of ``count`` sine waves: some to adapt with, some to be judged by."""
    amplitude, phase, x = jax.random.split(key, 3)
    amplitude = jax.random.uniform(amplitude, (count, 1), minval=0.1, maxval=5.0)
    phase = jax.random.uniform(phase, (count, 1), maxval=jnp.pi)
    x = jax.random.uniform(x, (count, shots + queries), minval=-5.0, maxval=5.0)
    y = amplitude * jnp.sin(x - phase)
    return x[:, :shots, None], y[:, :shots], x[:, shots:, None], y[:, shots:]


def adapted(model, x, y):
    """The function of one task, from its few points."""
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, y), kbo.Sample(x, y),
        kbo.FeatureSpace(model["net"]), ridge=lambda log_ridge: jnp.exp(log_ridge),
    )
    return kbo.solve(problem, model["log_ridge"])


def error(model, x, y, x_out, y_out):
    each = jax.vmap(lambda x, y, x_out, y_out: jnp.mean((adapted(model, x, y)(x_out) - y_out) ** 2))
    return jnp.mean(each(x, y, x_out, y_out))


model = {"net": eqx.nn.MLP(1, 32, 64, 2, key=jax.random.key(0)), "log_ridge": jnp.array(-4.0)}
optimizer = optax.adam(1e-3)
state = optimizer.init(eqx.filter(model, eqx.is_array))
step = eqx.filter_jit(eqx.filter_value_and_grad(error))
curve = []
for k in range(1500):
    value, grad = step(model, *tasks(jax.random.key(k), 50))
    updates, state = optimizer.update(grad, state)
    model = eqx.apply_updates(model, updates)
    curve.append(value)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
left.semilogy(curve)
left.set(xlabel="step", ylabel="squared error on new points of new tasks")
x, y, x_out, y_out = (part[0] for part in tasks(jax.random.key(10**6), 1, queries=200))
order = jnp.argsort(x_out[:, 0])
right.plot(x_out[order, 0], y_out[order], "k--", label="the wave")
right.plot(x_out[order, 0], adapted(model, x, y)(x_out[order]), label="from ten points")
right.plot(x[:, 0], y, "o")
right.legend()
plt.show()
