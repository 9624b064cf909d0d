"""
Fair learning: the same chance for those who deserve it
=======================================================

In the synthetic data of Zafar, Valera, Gomez Rodriguez, Gummadi (2017) a classifier finds the good
cases of one group more often than those of the other. The outer loss is the log-loss on rows set
aside, plus a penalty on this difference in chances ("equal opportunity"); it tunes a weight for
each combination of label and group in a logistic regression. (Roh, Lee, Whang, Suh 2021 tune such
shares by a rule, FairBatch: accuracy .855, disparity .012 in the notebook of their code.)
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import multivariate_normal

import kbo

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
GOOD = multivariate_normal([2, 2], [[5, 1], [1, 5]], seed=rng)
BAD = multivariate_normal([-2, -2], [[10, 1], [1, 3]], seed=rng)
TURN = np.array([[1, -1], [1, 1]]) / np.sqrt(2)


def draw(n):
    """Two features, the group and a one, (n, 4); and 2·good + group, (n,)."""
    good = rng.random(n) < 0.5
    x = np.where(good[:, None], GOOD.rvs(n), BAD.rvs(n))
    densities = [law.pdf(x @ TURN) for law in (GOOD, BAD)]
    group = rng.random(n) < densities[0] / sum(densities)
    return np.column_stack([x, group, np.ones(n)]), 2 * good + group


train, judge, test = draw(1000), draw(1000), draw(20_000)
sign = lambda cell: jnp.where(cell >= 2, 1.0, -1.0)  # noqa: E731


def weighted(w, v, cell):
    """The logistic loss, times the weight of the combination of label and group."""
    return jnp.exp(w[cell.astype(int)]) * jax.nn.softplus(-sign(cell) * v)


class Fair(kbo.losses.Joint):
    """Mean log-loss plus ``penalty`` times the squared difference of two groups' chances."""

    penalty: float

    def __call__(self, omega, predictions, cells, weights):
        chances = [jnp.mean(jax.nn.sigmoid(predictions), where=cells == cell) for cell in (2, 3)]
        loss = jnp.mean(jax.nn.softplus(-sign(cells) * predictions))
        return loss + self.penalty * (chances[0] - chances[1]) ** 2


def tuned(penalty):
    samples, space = (kbo.Sample(*train), kbo.Sample(*judge)), kbo.FeatureSpace(lambda x: x)
    problem = kbo.BilevelProblem(weighted, Fair(penalty), *samples, space, ridge=1e-3)
    return kbo.minimize(problem, jnp.zeros(4), bounds=(-4.0, 4.0))


def measured(found):
    """Accuracy on new rows, and how far a group's share of good ones found is from that of all."""
    right = np.sign(found.function(test[0])) == sign(test[1])
    shares = [right[part].mean() for part in (test[1] == 2, test[1] == 3, test[1] >= 2)]
    return right.mean(), max(abs(share - shares[2]) for share in shares)


penalties = np.array([0.0, 1.0, 3.0, 10.0, 100.0])
accuracy, disparity = np.transpose([measured(tuned(penalty)) for penalty in penalties])
for row in zip(penalties, accuracy, disparity, strict=True):
    print("penalty {:5.1f}: accuracy {:.3f}, disparity {:.3f}".format(*row))

figure, ax = plt.subplots()
ax.plot(disparity, accuracy, "o-", label="penalty from 0 (right) to 100")
ax.plot(0.012, 0.855, "*", label="FairBatch, another draw")
ax.set(xlabel="disparity of the chances", ylabel="accuracy on new rows")
ax.legend()
plt.show()
