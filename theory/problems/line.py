"""Problems on an interval with losses that are not squared."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from kbo import kernels

from ..population import QuadraturePopulation
from ..population.linear import outer_loss
from ..population.quadrature import gauss_legendre


def spread(rule, outcomes):
    """Nodes of x combined with the outcomes given x.

    ``outcomes(x)`` yields pairs (targets, probabilities (N,)).
    """
    nodes, weights = rule
    x, targets, probabilities = [], [], []
    for target, probability in outcomes(nodes):
        x.append(nodes[:, None])
        targets.append(target)
        probabilities.append(weights * probability)
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *targets)
    return np.concatenate(x), stacked, np.concatenate(probabilities)


def weighted_logistic(omega, prediction, target):
    """σ(ω_g) log(1 + exp(−t h)), where g is the group of the sample."""
    label, group = target
    return jax.nn.sigmoid(omega[group]) * jnp.logaddexp(0.0, -label * prediction)


def plain_logistic(omega, prediction, target):
    """log(1 + exp(−t h))."""
    return jnp.logaddexp(0.0, -target * prediction)


def logistic_weights(ridge=1e-2):
    """Weights of two groups of labels of different quality, with logistic inner and outer loss.

    The labels t and their groups are drawn as::

        x ~ U[−1, 1],  P(t = 1 | x) = σ(3 sin 3x) in group 0, the complement in a third of group 1

    Parameters
    ----------
    ridge : float
        Of the inner problem.

    Returns
    -------
    QuadraturePopulation
    """

    def clean(x):
        return 1 / (1 + np.exp(-3 * np.sin(3 * x)))

    def outcomes(x):
        for label in (1.0, -1.0):
            for group in (0, 1):
                good = clean(x) if group == 0 else clean(x) * 2 / 3 + (1 - clean(x)) / 3
                chance = 0.5 * (good if label > 0 else 1 - good)
                yield (np.full_like(x, label), np.full(x.shape, group)), chance

    def clean_outcomes(x):
        for label in (1.0, -1.0):
            yield np.full_like(x, label), clean(x) if label > 0 else 1 - clean(x)

    def draw(random, n):
        x, group = random.uniform(-1, 1, (n, 1)), random.integers(2, size=n)
        label = np.where(random.uniform(size=n) < clean(x[:, 0]), 1.0, -1.0)
        flipped = np.where((group == 1) & (random.uniform(size=n) < 1 / 3), -label, label)
        return (x, (flipped, group)), (x, label)

    return QuadraturePopulation(
        "logistic_weights", (weighted_logistic, plain_logistic), kernels.Gaussian(0.5), ridge,
        lambda level: tuple(spread(gauss_legendre(level), o) for o in (outcomes, clean_outcomes)),
        draw, (-2 * np.ones(2), 2 * np.ones(2)),
    )


def huber_inner(omega, prediction, target):
    """δ²(√(1 + (u/δ)²) − 1), u = h(x) − φᵀω, δ = ½: a Huber loss with three derivatives."""
    return 0.25 * (jnp.sqrt(1 + 4 * (prediction - target @ omega) ** 2) - 1)


def _two_features(x, sign):
    """φ given x and the sign of a fair coin: bounded, and two nodes suffice."""
    return np.stack([np.sin(3 * x) + 0.4 * sign, np.cos(2 * x) - 0.4 * sign], 1)


def _coin_problem(name, losses, kernel, ridge, response):
    """A problem with inner targets φ(x, coin) and outer targets response(x, coin)."""

    def rule(level):
        line = gauss_legendre(level)
        coin = lambda make: (lambda x: ((make(x, s), np.full_like(x, 0.5)) for s in (-1, 1)))  # noqa: E731
        return spread(line, coin(_two_features)), spread(line, coin(response))

    def draw(random, n):
        x, sign = random.uniform(-1, 1, (n, 1)), random.choice([-1.0, 1.0], size=n)
        return (x, _two_features(x[:, 0], sign)), (x, response(x[:, 0], sign))

    return QuadraturePopulation(
        name, losses, kernel, ridge, rule, draw, (-np.ones(2), np.ones(2))
    )


def huber_targets(ridge=1e-2):
    """Inner targets φᵀω under a smooth Huber loss, and a squared outer loss.

    Huber's own loss has a jump in its second derivative; Theorem 4.1 requires three derivatives.

    Parameters
    ----------
    ridge : float
        Of the inner problem.

    Returns
    -------
    QuadraturePopulation
    """
    response = lambda x, s: np.sin(3 * x) + 0.5 * np.cos(2 * x) + 0.3 * s  # noqa: E731
    return _coin_problem(
        "huber_targets", (huber_inner, outer_loss), kernels.Matern52(0.5), ridge, response
    )


def poisson_inner(omega, prediction, target):
    """exp(h) − t h with the rate t = exp(φᵀω)."""
    return jnp.exp(prediction) - jnp.exp(target @ omega) * prediction


def pseudo_huber(omega, prediction, target):
    """√(1 + (h − y)²) − 1."""
    return jnp.sqrt(1 + (prediction - target) ** 2) - 1


def poisson_rates(ridge=1e-2):
    """Inner log-rates φᵀω under the Poisson likelihood, and a robust outer loss.

    Parameters
    ----------
    ridge : float
        Of the inner problem.

    Returns
    -------
    QuadraturePopulation
    """
    response = lambda x, s: 0.5 * np.sin(3 * x) + 0.2 * s  # noqa: E731
    return _coin_problem(
        "poisson_rates", (poisson_inner, pseudo_huber), kernels.Matern32(0.7), ridge, response
    )
