"""Problems with ω in the outer loss, the kernel and the ridge, so that ∂_ωΛ has all its terms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from kbo import kernels

from ..population import QuadraturePopulation
from ..population.quadrature import gauss_legendre
from .line import spread


def _signal(x):
    return np.sin(3 * x) + 0.5 * np.cos(2 * x)


def _coins(x):
    """y = f(x) ± ½ by a fair coin: bounded noise, for which two nodes suffice."""
    for sign in (-1, 1):
        yield _signal(x) + 0.5 * sign, np.full_like(x, 0.5)


def squared_inner(omega, prediction, target):
    """½(h(x) − t)²."""
    return 0.5 * (prediction - target) ** 2


def gaussian_likelihood(omega, prediction, target):
    """½(h(x') − y)² e^{−ω₂} + ½ω₂, which is −log N(y; h(x'), e^{ω₂}) up to a constant."""
    return 0.5 * (prediction - target) ** 2 * jnp.exp(-omega[2]) + 0.5 * omega[2]


def gaussian_kernel(omega):
    """exp(−(x − z)²/2ℓ²), ℓ = e^{ω₀}."""
    return kernels.Gaussian(jnp.exp(omega[0]))


def log_ridge(omega):
    """e^{ω₁}."""
    return jnp.exp(omega[1])


def predictive_likelihood():
    """Lengthscale, ridge and noise variance, tuned for the likelihood of fresh data.

        x ~ U[−1, 1],  y = sin 3x + ½ cos 2x ± ½ (a fair coin)
        inner ½(h − y)²,  outer ½(h − y')² e^{−ω₂} + ½ω₂
        k(x, z) = exp(−(x − z)²/2e^{2ω₀}),  ridge e^{ω₁}
    """

    def rule(level):
        nodes = spread(gauss_legendre(level), _coins)
        return nodes, nodes

    def draw(random, n):
        def sample():
            x = random.uniform(-1, 1, (n, 1))
            return x, _signal(x[:, 0]) + random.choice([-0.5, 0.5], size=n)

        return sample(), sample()

    return QuadraturePopulation(
        "predictive_likelihood", (squared_inner, gaussian_likelihood), gaussian_kernel, log_ridge,
        rule, draw, (np.log([0.3, 1e-2, 0.15]), np.log([0.8, 0.1, 1.0])), levels=(20, 40, 80, 160),
    )


def weighted_inner(omega, prediction, target):
    """σ(ω₃ g) log(1 + exp(−t h)), where g = ±1 is the group of the sample."""
    label, group = target
    return jax.nn.sigmoid(omega[3] * group) * jnp.logaddexp(0.0, -label * prediction)


def tempered_logistic(omega, prediction, target):
    """log(1 + exp(−t h e^{ω₂})): the logistic loss of h calibrated by a temperature."""
    return jnp.logaddexp(0.0, -target * prediction * jnp.exp(omega[2]))


def mixed_kernel(omega):
    """A Gaussian kernel of lengthscale e^{ω₀} plus xz/4."""
    return kernels.Gaussian(jnp.exp(omega[0])) + 0.25 * kernels.Linear()


def calibrated_logistic():
    """A classifier's lengthscale, ridge, temperature, and the weight of a group of noisy labels.

        x ~ U[−1, 1],  P(t = 1 | x) = σ(3 sin 3x), in half of the data mixed with a coin
        inner σ(±ω₃) log(1 + e^{−th}),  outer log(1 + exp(−t'h e^{ω₂})),  ridge e^{ω₁},
        k(x, z) = exp(−(x − z)²/2e^{2ω₀}) + xz/4
    """

    def clean(x):
        return 1 / (1 + np.exp(-3 * np.sin(3 * x)))

    def chance(x, group):
        return clean(x) if group > 0 else 0.5 * clean(x) + 0.25

    def inner(x):
        for group in (1.0, -1.0):
            for label in (1.0, -1.0):
                p = chance(x, group)
                yield (
                    (np.full_like(x, label), np.full_like(x, group)),
                    0.5 * (p if label > 0 else 1 - p),
                )

    def outer(x):
        for label in (1.0, -1.0):
            yield np.full_like(x, label), clean(x) if label > 0 else 1 - clean(x)

    def draw(random, n):
        x, group = random.uniform(-1, 1, (n, 1)), random.choice([-1.0, 1.0], size=n)
        p = np.where(group > 0, chance(x[:, 0], 1), chance(x[:, 0], -1))
        x_out = random.uniform(-1, 1, (n, 1))
        labels = lambda p: np.where(random.uniform(size=n) < p, 1.0, -1.0)  # noqa: E731
        return (x, (labels(p), group)), (x_out, labels(clean(x_out[:, 0])))

    return QuadraturePopulation(
        "calibrated_logistic", (weighted_inner, tempered_logistic), mixed_kernel, log_ridge,
        lambda level: tuple(spread(gauss_legendre(level), o) for o in (inner, outer)), draw,
        (np.array([np.log(0.3), np.log(1e-2), -0.5, -1.0]),
         np.array([np.log(0.8), np.log(0.1), 1.0, 1.0])),
        tol=1e-7, levels=(30, 60, 120, 240, 480),
    )
