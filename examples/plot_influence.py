"""
Which training samples do harm
==============================

The loss on held-out samples is a function of the weights of the training samples. Its derivative at
weights of one says how each sample affects it: if the derivative is positive, the loss would fall
if the sample counted less. One hypergradient contains all of these derivatives. Here a tenth of the
labels of the breast cancer data are flipped, as Koh and Liang (2017, Section 5.4) do with Enron's
e-mails. They rank samples by the influence of each on its own loss; here it is the influence on 150
other samples, whose labels are right. The loss of each sample itself, which needs no derivative,
also finds the flipped labels, and is shown for comparison. (With a tenth of the ridge the model
follows some of the wrong labels, and the AUC of the influence is 0.92; that of the own loss is then
0.997.)
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import scale

import kbo

jax.config.update("jax_enable_x64", True)
X, y = load_breast_cancer(return_X_y=True)
rng = np.random.default_rng(0)
order = rng.permutation(len(X))
X, y = scale(X)[order], 2.0 * y[order] - 1
train, held = slice(0, 419), slice(419, None)
wrong = rng.uniform(size=419) < 0.1
labels = np.where(wrong, -y[train], y[train])

problem = kbo.BilevelProblem(
    kbo.losses.Logistic(), kbo.losses.Logistic(),
    inner_data=lambda weights: kbo.Sample(X[train], labels, weights),
    outer_data=kbo.Sample(X[held], y[held]),
    space=kbo.RKHS(kbo.kernels.Gaussian(8.0)), ridge=1e-2,
)
found = kbo.value_and_hypergradient(problem, jnp.ones(419))
influence = np.asarray(found.grad) * 419
own = np.logaddexp(0, -labels * np.asarray(kbo.solve(problem, jnp.ones(419))(X[train])))
print(f"wrong labels found, AUC: {roc_auc_score(wrong, influence):.3f}, "
      f"by the own loss {roc_auc_score(wrong, own):.3f}")
first = np.argsort(-influence)[: wrong.sum()]
print(f"of the {wrong.sum()} highest influences {wrong[first].sum()} are of wrong labels")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
place = np.argsort(np.argsort(-influence))
for part, color, name in ((~wrong, "#56B4E9", "right"), (wrong, "#D55E00", "turned round")):
    left.vlines(place[part], 0, influence[part], color=color, label=name)
left.set(xlabel="training samples, by influence", ylabel="derivative of the held-out loss × n")
left.legend(title="label")
for measure, color, name in ((influence, "#0072B2", "influence"), (own, "#E69F00", "own loss")):
    right.plot(np.cumsum(wrong[np.argsort(-measure)]) / wrong.sum(), color=color, label=name)
right.plot([0, 418], [0, 1], "k:", lw=1, label="at random")
right.set(xlabel="samples looked at", ylabel="share of wrong labels found")
right.legend()
plt.show()
