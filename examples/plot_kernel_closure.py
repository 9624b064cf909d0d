"""
A force that is not known, learned inside a differential equation
=================================================================

A pendulum with friction obeys θ″ = g(θ, θ′). Here g is a kernel function: it takes the values ω at
25 points of the plane, and ``kbo.solve`` interpolates them. The equation is integrated by
Runge-Kutta steps under ``jax.lax.scan``, each of which evaluates g, and the squared error of the
trajectories is differentiated in ω through all of it. Three noisy trajectories are given, cut in
pieces of a second that start at an observation; the dashed one, from another start, was not seen.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

import kbo

jax.config.update("jax_enable_x64", True)
STEP = 0.1
points = np.stack(np.meshgrid(*2 * [np.linspace(-2.5, 2.5, 5)]), -1).reshape(-1, 2)


def true_force(state):
    return -jnp.sin(state[0]) * 2 - 0.3 * state[1]


def trajectory(force, start, times=60):
    """The states (times, 2) of θ″ = force(θ, θ′), by fourth-order Runge-Kutta."""

    def slope(state):
        return jnp.stack([state[1], force(state)])

    def step(state, _):
        b = slope(state + STEP / 2 * (a := slope(state)))
        c = slope(state + STEP / 2 * b)
        d = slope(state + STEP * c)
        return state + STEP / 6 * (a + 2 * b + 2 * c + d), state

    return jax.lax.scan(step, start, None, times)[1]


starts = jnp.array([[2.2, 0.0], [-1.0, 2.0], [0.5, -2.2]])
clean = jax.vmap(lambda start: trajectory(true_force, start))(starts)
seen = clean + 0.05 * np.random.default_rng(0).normal(size=clean.shape)
pieces = seen.reshape(18, 10, 2)


def force_of(omega):
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(points, omega),
        kbo.Sample(points, omega), kbo.RKHS(kbo.kernels.Gaussian(2.0)), ridge=1e-6,
    )
    h = kbo.solve(problem, jnp.zeros(0))
    return lambda state: h(state[None])[0]


@jax.jit
@jax.value_and_grad
def loss(omega):
    force = force_of(omega)
    made = jax.vmap(lambda piece: trajectory(force, piece[0], 10))(pieces)
    return jnp.mean((made - pieces) ** 2) + 1e-4 * jnp.mean(omega**2)


found = minimize(loss, np.zeros(25), jac=True, options={"maxiter": 200})
new = jnp.array([1.5, 1.0])
_, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
left.plot(*np.moveaxis(seen, 2, 0).reshape(2, 3, -1).transpose(0, 2, 1), ".", color="0.6")
left.plot(*trajectory(true_force, new).T, "k--")
left.plot(*trajectory(force_of(found.x), new).T)
left.set(xlabel="angle", ylabel="angular velocity")
angle = np.linspace(-2.2, 2.2)
right.plot(angle, -2 * np.sin(angle), "k--", label="truth (left: from a new start)")
right.plot(angle, [force_of(found.x)(jnp.array([a, 0.0])) for a in angle], label="learned")
right.set(xlabel="angle", ylabel="force at rest")
right.legend()
plt.show()
