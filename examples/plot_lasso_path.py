"""
The lasso's strength by its hypergradient
=========================================

``RegularizedFeatures`` poses a linear inner problem with an ℓ₁ penalty, whose strength is the outer
variable. The solution has kinks where a coefficient enters, and is smooth between them; its
derivative there is implicit differentiation among the coefficients that are not zero (Bertrand,
Klopfenstein, Massias, Blondel, Vaiter, Gramfort, Salmon 2022). The data are the diabetes set with
ten columns of noise, in five folds that are one problem; scikit-learn's ``LassoCV`` tries 100
strengths, which works as well for a single number. The lowest value lies at a kink, which the
search would approach in ever smaller steps: it is ended after ten steps.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LassoCV, lasso_path
from sklearn.model_selection import KFold
from sklearn.preprocessing import scale

import kbo
from kbo.regularizers import L1

jax.config.update("jax_enable_x64", True)
X, y = load_diabetes(return_X_y=True)
X = scale(np.hstack([X, np.random.default_rng(0).normal(size=(len(X), 10))]))
y = scale(y)
folds = np.array([np.isin(np.arange(len(y)), test) for _, test in KFold(5).split(X)])

problem = kbo.BilevelProblem(
    kbo.losses.Squared(), kbo.losses.Squared(),
    inner_data=kbo.Sample(X, y, ~folds * 1.0), outer_data=kbo.Sample(X, y, folds * 1.0),
    space=lambda w: kbo.RegularizedFeatures(lambda x: x, L1(jnp.exp(w))), ridge=0.0,
)
steps = []
found = kbo.minimize(
    problem, -1.0, bounds=(-7.0, 0.0), optimizer=kbo.optimizers.LBFGS(max_steps=10),
    callback=lambda record: steps.append((float(record.omega), record.value)),
)
strength = float(np.exp(found.omega))
theirs = LassoCV(cv=5, fit_intercept=False, alphas=100).fit(X, y)
print(f"hypergradient: strength {strength:.4f}, squared error {2 * found.value:.4f}, "
      f"{found.n_evaluations} evaluations")
print(f"LassoCV:       strength {theirs.alpha_:.4f}, squared error "
      f"{theirs.mse_path_.mean(1).min():.4f}, 100 strengths")

figure, (top, low) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
strengths, paths, _ = lasso_path(X, y, alphas=np.geomspace(1e-3, 0.6, 200))
top.plot(strengths, paths[10:].T, color="0.7", lw=1, label=["noise", *[None] * 9])
top.plot(strengths, paths[:10].T, color="#0072B2", label=["features", *[None] * 9])
top.set(ylabel="coefficients", title="Diabetes, and ten columns of noise")
top.legend()
low.plot(theirs.alphas_, theirs.mse_path_.mean(1), color="0.5", label="LassoCV")
low.plot(*np.transpose([(np.exp(w), 2 * value) for w, value in steps]), "o--", color="#D55E00",
         label="ten steps, from the right")
low.set(xscale="log", xlabel="strength of the penalty", ylabel="cross-validated squared error")
low.legend()
for ax in (top, low):
    ax.axvline(strength, color="k", ls=":", lw=1)
plt.show()
