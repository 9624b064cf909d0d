"""
A coefficient of a differential equation, from noisy observations
=================================================================

Heat spreads in a rod as u_t = κ u_xx, with κ unknown. The inner problem is a regression that fits
noisy observations and, at other points, the equation: there the features are those of u_t − κ u_xx,
and the target is zero. The outer problem tunes κ, the ridge, and how much the equation counts, by
observations that were kept back.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kbo

jax.config.update("jax_enable_x64", True)
KAPPA, NOISE = 0.05, 0.1
rng = np.random.default_rng(0)
waves, powers = (grid.ravel() for grid in np.meshgrid(np.arange(1, 9), np.arange(8)))


def features(z):
    """Sines in x that vanish at both ends, times Chebyshev's polynomials in t: 64 features."""
    return jnp.sin(jnp.pi * waves * z[0]) * jnp.cos(powers * jnp.arccos(1.98 * z[1] - 0.99))


def heat(x, t):
    """A solution of u_t = κ u_xx."""
    wave = lambda k: np.sin(np.pi * k * x) * np.exp(-KAPPA * (np.pi * k) ** 2 * t)  # noqa: E731
    return wave(1) + 0.7 * wave(3)


points, kept, equation = (rng.uniform(size=(n, 2)) for n in (100, 100, 300))
values, kept_values = (heat(*z.T) + NOISE * rng.normal(size=100) for z in (points, kept))
flagged = lambda z, flag: np.column_stack([z, np.full(len(z), flag)])  # noqa: E731


def features_of(kappa):
    """φ(x, t), or (∂_t − κ∂_xx)φ(x, t) where the third coordinate is 1."""
    slope = jax.jacfwd(features)
    equation_of = lambda z: slope(z)[:, 1] - kappa * jax.jacfwd(slope)(z)[:, 0, 0]  # noqa: E731
    return lambda z: jnp.where(z[2] > 0, equation_of(z[:2]), features(z[:2]))


def inner_data(w):
    weights = jnp.append(jnp.ones(100), jnp.exp(w["log_weight"]) * jnp.ones(300))
    x = np.concatenate([flagged(points, 0), flagged(equation, 1)])
    return kbo.Sample(x, np.append(values, np.zeros(300)), weights)


problem = kbo.BilevelProblem(
    kbo.losses.Squared(), kbo.losses.Squared(),
    inner_data, kbo.Sample(flagged(kept, 0), kept_values),
    lambda w: kbo.FeatureSpace(features_of(jnp.exp(w["log_kappa"]))),
    ridge=lambda w: jnp.exp(w["log_ridge"]),
)
start = {"log_kappa": -1.0, "log_weight": -3.0, "log_ridge": -9.0}
box = -14.0, {"log_kappa": 2.0, "log_weight": 6.0, "log_ridge": 0.0}
found = kbo.minimize(problem, start, bounds=box)
never = {**start, "log_weight": -14.0}  # the equation hardly counts
without = kbo.minimize(problem, never, bounds=(-14.0, {**box[1], "log_weight": -14.0}))
error = kbo.standard_errors(problem, found.omega, bounds=box).omega["log_kappa"]
kappa = np.exp(found.omega["log_kappa"])
print(f"kappa {kappa:.4f}, in truth {KAPPA}; noise in what was kept moves it by {error:.0%}")

axis = np.linspace(0, 1, 60)
grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)  # rows are times
functions = {"the truth": lambda z: heat(z[:, 0], z[:, 1]),
             "without the equation": without.function, "with the equation": found.function}
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True)
for (name, function), ax in zip(functions.items(), axes, strict=True):
    surface = np.asarray(function(flagged(grid, 0)))
    error = np.sqrt(np.mean((surface - heat(*grid.T)) ** 2))
    print(f"{name}: root mean squared error {error:.4f}")
    ax.pcolormesh(axis, axis, surface.reshape(60, 60), vmin=-1.2, vmax=1.2)
    ax.set(title=f"{name}: error {error:.3f}", xlabel="x", ylabel="t")
plt.show()
