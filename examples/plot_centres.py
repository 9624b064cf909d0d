"""
Where to put few centres
========================

``Nystrom`` looks for h in the span of M centres. They are drawn uniformly among the points, or by
rules that choose points which the ones before do not represent, k-means++ and randomly pivoted
Cholesky (Chen, Epperly, Tropp, Webber 2025); or they are the outer variable, and the hypergradient
moves them to where 500 held-out values are predicted best. Kernel and ridge are the same for all.
The rules never look at the values, and have similar errors here; learned centres have the error of
twice as many centres from a rule. The design was made for this figure, so that there is no
published result to compare with; the figure shows the exact solution, with 1,500 coefficients.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kbo
from kbo.solvers import Nystrom, centers

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)


def drawn(n):
    """Points of the plane, four in five of them crowded, and noisy values."""
    wide = rng.uniform(size=(n, 1)) < 0.2
    x = rng.normal(size=(n, 2)) * np.where(wide, 1.5, 0.2)
    return x, np.sin(2 * x[:, 0]) * np.cos(2 * x[:, 1]) + 0.05 * rng.normal(size=n)


(x, y), held, (x_test, y_test) = drawn(1500), drawn(500), drawn(2000)
sizes, nothing, kernel = [5, 10, 20, 40], jnp.zeros(1), kbo.kernels.Gaussian(0.8)
problem = kbo.BilevelProblem(
    kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, y), kbo.Sample(*held),
    kbo.RKHS(kernel), ridge=1e-6,
)


def error(function):
    return np.sqrt(np.mean((np.asarray(function(x_test)) - y_test) ** 2))


rules = {"uniform": centers.Uniform, "k-means++": centers.KMeansPlusPlus,
         "RPCholesky": centers.RPCholesky}
curves = {name: np.zeros((5, len(sizes))) for name in rules}
learned = []
for column, size in enumerate(sizes):
    for name, rule in rules.items():
        for seed in range(5):
            chosen = x[rule(size, seed).select(kernel, jnp.asarray(x), 1e-6)]
            curves[name][seed, column] = error(
                kbo.value_and_hypergradient(problem, nothing, solver=Nystrom(chosen)).inner
            )
    found = kbo.minimize(problem, chosen, solver=Nystrom(lambda z: z),
                         optimizer=kbo.optimizers.LBFGS(max_steps=40))
    learned.append(error(found.function))
curves["learned"] = np.array([learned])
exact = error(kbo.value_and_hypergradient(problem, nothing).inner)

figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
styles = zip(curves.items(), ("#E69F00", "#56B4E9", "#0072B2", "#D55E00"), "sDo^", strict=True)
for (name, errors), color, marker in styles:
    print(f"{name}:", *(f"M = {M}: {e:.3f}" for M, e in zip(sizes, errors.mean(0), strict=True)))
    ax.errorbar(sizes, errors.mean(0), errors.std(0), fmt=marker + "-", color=color, label=name)
print(f"exact: {exact:.3f}")
ax.axhline(exact, color="k", ls=":", label="exact solution")
ax.set(xscale="log", yscale="log", xlabel="centres M", ylabel="test error (root mean square)")
ax.set_xticks(sizes, sizes)
ax.set_yticks([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
ax.minorticks_off()
ax.legend()
plt.show()
