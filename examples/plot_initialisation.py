"""
An initialisation from which a few gradient steps are enough
============================================================

A sine wave of unknown amplitude and phase is learned from ten points by five steps of gradient
descent. Where should these start? The start is the outer variable: the loss on new points of many
waves is differentiated through the steps (MAML: Finn, Abbeel, Levine 2017, with longer training on
the same waves). Beside it are a start that fits all waves at once, and a ridge regression on common
features, which ``kbo.solve`` finds exactly, not by steps. All three are trained alike.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import kbo

jax.config.update("jax_enable_x64", True)


def tasks(key, count):
    """Sine waves at points of [−5, 5]: ten to adapt with, twenty to be judged by."""
    size, phase, x = jax.random.uniform(key, (3, count, 30))
    x, y = 10 * x - 5, (0.1 + 4.9 * size[:, :1]) * jnp.sin(10 * x - 5 - jnp.pi * phase[:, :1])
    return x[:, :10, None], y[:, :10], x[:, 10:, None], y[:, 10:]


def features(net, x):
    for weights, offset in net[:2]:
        x = jax.nn.relu(x @ weights + offset)
    return x


def stepped(net, x, y, steps=5):
    """The function of one wave after gradient steps; without any, that of all waves."""
    output = lambda net, x: features(net, x) @ net[2][0] + net[2][1]  # noqa: E731
    slopes = jax.grad(lambda net: jnp.mean((output(net, x) - y) ** 2))
    down = lambda _, net: jax.tree.map(lambda w, slope: w - 0.02 * slope, net, slopes(net))  # noqa: E731
    return lambda points: output(jax.lax.fori_loop(0, steps, down, net), points)


def headed(net, x, y):
    """The ridge regression of one wave on the network's features."""
    data, loss = kbo.Sample(x, y), kbo.losses.Squared()
    space = kbo.FeatureSpace(lambda point: features(net, point))
    return kbo.solve(kbo.BilevelProblem(loss, loss, data, data, space, ridge=0.01), jnp.zeros(0))


def error(net, adapt, x, y, x_out, y_out):
    found = jax.vmap(lambda x, y, x_out: adapt(net, x, y)(x_out))(x, y, x_out)
    return jnp.mean((found - y_out) ** 2)


def trained(adapt):
    a, b, c = jax.random.uniform(jax.random.key(0), (3, 40, 40), minval=-1.0)
    net = [(a[:1], a[1]), (b / 6, a[2] / 6), (c[0] / 6, jnp.zeros(()))]
    optimizer, keys = optax.adam(3e-3), jax.random.split(jax.random.key(1), 600)

    def step(state, key):
        slopes = jax.grad(error)(state[0], adapt, *tasks(key, 15))
        updates, moments = optimizer.update(slopes, state[1])
        return (optax.apply_updates(state[0], updates), moments), None

    return jax.jit(lambda state: jax.lax.scan(step, state, keys)[0][0])((net, optimizer.init(net)))


ways = {"start that fits all waves": (lambda *task: stepped(*task, steps=0), stepped, "#E69F00"),
        "start learned through steps": (stepped, stepped, "#0072B2"),
        "ridge on learned features": (headed, headed, "#009E73")}
x, grid = jnp.linspace(-4.5, 4, 10)[:, None], jnp.linspace(-5, 5, 200)[:, None]
plt.plot(x, y := 3 * jnp.sin(x - 1), "ko", grid, 3 * jnp.sin(grid - 1), "k--")
for name, (train, adapt, color) in ways.items():
    found = error(net := trained(train), adapt, *tasks(jax.random.key(2), 500))
    print(f"{name}: mean squared error on 500 new waves {found:.3f}")
    plt.plot(grid, adapt(net, x, y[:, 0])(grid), color=color, label=name)
plt.gca().set(xlabel="x", ylabel="y", ylim=(-3.4, 6.5))
plt.legend()
plt.show()
