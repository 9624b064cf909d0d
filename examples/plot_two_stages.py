"""
Two stages with an instrument, and the standard errors of the whole
===================================================================

A treatment x and an outcome y share a hidden cause; an instrument z moves x alone. The first stage
learns the mean of 40 features of x given z, and the second regresses y on what the first predicts:
one ``kbo.solve`` takes its points from another. The curve that comes out is differentiated in the
weights of the observations through both stages at once. The root of the sum of squares of these
derivatives is its infinitesimal jackknife standard error (Efron 1982); no influence function of the
two stages together has to be derived by hand. The ridges are held fixed, and the standard error
does not include their bias. The design is Newey and Powell's (2003), as Singh, Sahani and Gretton
(2019) use it.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kbo

jax.config.update("jax_enable_x64", True)
design = kbo.datasets.make_iv_sigmoid(n_samples=400, random_state=0)
x, y, z = (jnp.asarray(part) for part in (design.X, design.y, design.Z))
features = kbo.RandomFourierFeatures(40, 1, lengthscale=0.3)
grid = jnp.linspace(0.05, 0.95, 60)[:, None]


def regression(points, targets, weights, space, ridge, n_outputs=None):
    """The ridge regression of targets on points, as a function that JAX can differentiate."""
    sample = kbo.Sample(points, targets, weights)
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), sample, sample, space, ridge,
        n_outputs=n_outputs,
    )
    return kbo.solve(problem, jnp.zeros(0))


def structural(weights):
    """The second stage's curve on the grid, for weights of the observations."""
    of_x = jax.vmap(features)(x)
    means = regression(z, of_x, weights, kbo.RKHS(kbo.kernels.Gaussian(0.5)), 1e-3, 40)(z)
    second = regression(means, y, weights, kbo.FeatureSpace(lambda row: row), 1e-3)
    return second(jax.vmap(features)(grid))


ones = jnp.ones(len(y))
curve, slopes = structural(ones), jax.jit(jax.jacrev(structural))(ones)
error = np.sqrt(np.sum(np.asarray(slopes) ** 2, 1))
naive = regression(x, y, ones, kbo.RKHS(kbo.kernels.Gaussian(0.3)), 1e-3)(grid)

plt.plot(x[:, 0], y, ".", color="0.8")
plt.plot(grid, design.true_function(grid), "k--", label="effect of x")
plt.plot(grid, naive, label="kernel ridge regression of y on x")
plt.plot(grid, curve, label="two stages")
plt.fill_between(grid[:, 0], curve - 2 * error, curve + 2 * error, alpha=0.3, color="C1")
plt.xlabel("x")
plt.ylabel("y")
plt.legend()
plt.show()
