"""Population problems by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, kv

from kbo import kernels

from .population import (
    Discretised,
    GaussianHermite,
    LinearPopulation,
    ProductWaves,
    QuadraturePopulation,
    TorusWaves,
)
from .population.linear import outer_loss
from .population.quadrature import gauss_legendre

NOISE = 0.1  # variance of η
LENGTHSCALE, RIDGE, DIMENSION = 0.2, 1e-2, 3


# -- the instrumental-variable problem of the paper ------------------------------------------------


def student_density(x, df):
    """p(x) of Student's t."""
    log = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi)
    return np.exp(log - (df + 1) / 2 * np.log1p(x**2 / df))


def student_characteristic(frequency, df):
    """E e^{iκx} = K_{ν/2}(√ν|κ|) (√ν|κ|)^{ν/2} / Γ(ν/2) 2^{ν/2−1}."""
    z = np.sqrt(df) * np.abs(frequency)
    return kv(df / 2, z) * z ** (df / 2) / np.exp(gammaln(df / 2)) / 2 ** (df / 2 - 1)


def kbo_paper_iv(inputs="gaussian", ridge=RIDGE, omega_star=None, random_state=0):
    """The instrumental-variable experiment of El Khoury et al. (2025), Section 5.

        x ∈ ℝ³ iid,  t = 2Σ_d x_d + η,  φ_k(t) = sin(t + k), k = 1…4,  y = φ(t)ᵀω* + η/2
        inner ½(h(x) − φ(t)ᵀω)²,  outer ½(h(x') − y')²,  k(x, z) = exp(−‖x − z‖²/2·0.2²)

    Parameters
    ----------
    inputs : "gaussian" or float
        x ~ N(0, 1), or Student's t with so many degrees of freedom (more than 2).
    ridge : float
    omega_star : array (4,), optional
        Drawn uniformly from [0, 1]⁴ otherwise, with ``random_state``.
    random_state : int
    """
    k = np.arange(1, 5)
    star = np.random.default_rng(random_state).uniform(size=4) if omega_star is None else (
        np.asarray(omega_star, float)
    )
    if inputs == "gaussian":
        spectrum, characteristic = GaussianHermite(LENGTHSCALE, 100), lambda c: np.exp(-(c**2) / 2)
        draw_x = lambda random, n: random.standard_normal((n, DIMENSION))  # noqa: E731
    else:
        df = float(inputs)
        if not df > 2:
            raise ValueError(f"inputs={inputs!r} must be 'gaussian' or degrees of freedom above 2")
        spectrum = _student_spectrum(df, ridge)
        characteristic = lambda c: student_characteristic(c, df)  # noqa: E731
        draw_x = lambda random, n: random.standard_t(df, (n, DIMENSION))  # noqa: E731

    def draw(random, n):
        x, eta = draw_x(random, n), random.normal(scale=np.sqrt(NOISE), size=n)
        features = np.sin((2 * x.sum(1) + eta)[:, None] + k)
        return x, features, features @ star + 0.5 * eta

    amplitude = np.exp(-NOISE / 2) * np.exp(1j * k)
    waves = ProductWaves(
        np.append(amplitude, amplitude @ star)[:, None], np.full((1, DIMENSION), 2.0),
        [spectrum] * DIMENSION,
    )
    twice = np.exp(-2 * NOISE) * characteristic(4.0) ** DIMENSION  # E e^{2it}
    features = 0.5 * (np.cos(k[:, None] - k) - np.cos(k[:, None] + k) * twice)
    once = np.exp(-NOISE / 2) * characteristic(2.0) ** DIMENSION
    with_noise = NOISE * np.cos(k) * once  # E[sin(t + k) η] = var(η) E cos(t + k)
    second = star @ features @ star + star @ with_noise + NOISE / 4
    name = "kbo_paper_iv, " + ("Gaussian" if inputs == "gaussian" else f"Student t, ν = {inputs}")
    return LinearPopulation(
        name, waves, second, kernels.Gaussian(LENGTHSCALE), ridge, draw,
        (np.zeros(4), np.ones(4)),
        ("the noise η, and with it the outer target, is unbounded",),
    )


def _student_spectrum(df, ridge=RIDGE, reach=80.0, step=0.06):
    kernel = lambda x, z: np.exp(-0.5 * ((x - z) / LENGTHSCALE) ** 2)  # noqa: E731
    density = lambda x: student_density(x, df)  # noqa: E731
    found = Discretised(kernel, density, reach, step)
    kept = int((found.eigenvalues > 1e-6 * found.eigenvalues[0]).sum())
    found.truncate(kept)
    # Beyond the reach the operator has norm p(R) ∫k at most (Schur's test).
    found.tail *= density(reach) * LENGTHSCALE * np.sqrt(2 * np.pi) / ridge
    return found


# -- the torus -------------------------------------------------------------------------------------


class SobolevTorus(kernels.Kernel):
    """k(x, z) = Π_d [1 + 2 Σ_{κ≥1} (1 + (2πκ)²)^{-s}… cos 2πκ(x_d − z_d)], to ``terms`` terms.

    The eigenvalues of the periodic Sobolev space W^s(𝕋), as a product over the coordinates.

    Parameters
    ----------
    smoothness : float
        s > ½.
    terms : int
    """

    smoothness: float
    terms: int

    def evaluate(self, x, z):
        frequency = 2 * jnp.pi * jnp.arange(1, self.terms + 1)
        weight = (1 + frequency**2) ** (-self.smoothness)
        waves = jnp.cos(frequency * (x - z)[:, None])
        return jnp.prod(1 + 2 * waves @ weight)

    def matrix(self, x, z):
        """A matrix product for each coordinate: cos(a − b) = cos a cos b + sin a sin b."""
        out = jnp.ones((len(x), len(z)))
        frequency = 2 * jnp.pi * jnp.arange(1, self.terms + 1)
        weight = (1 + frequency**2) ** (-self.smoothness)
        for a, b in zip(x.T, z.T, strict=True):
            left, right = a[:, None] * frequency, b[:, None] * frequency
            waves = (jnp.cos(left) * weight) @ jnp.cos(right).T
            out = out * (1 + 2 * (waves + (jnp.sin(left) * weight) @ jnp.sin(right).T))
        return out


def sobolev_eigenvalue(smoothness, terms):
    """μ_κ = Π_d (1 + κ_d²)^{-s} up to ``terms``, zero beyond."""

    def eigenvalue(frequencies):
        inside = np.abs(frequencies) <= 2 * np.pi * terms + 1e-9
        factors = np.where(inside, (1 + frequencies**2) ** (-smoothness), 0.0)
        return factors.prod(-1)

    return eigenvalue


def torus_regression(smoothness=1.0, ridge=1e-3, noise=0.3, terms=40):
    """Three features of a treatment on the torus, any smoothness: closed form.

        x ~ U[0, 1),  φ_k = cos 2π(kx + u/8) + ε_k, k = 1, 2, 3,  y = Σ_k φ_k/k + ε_4,
        u, ε_k uniform on [−1, 1] (times ``noise`` for ε)

    in W^s(𝕋). All assumptions of Theorem 4.1 hold.

    Parameters
    ----------
    smoothness : float
        s.
    ridge, noise : float
    terms : int
        Frequencies of the kernel.
    """
    k = np.arange(1, 4)

    def draw(random, n):
        x = random.uniform(size=(n, 1))
        u, eps = random.uniform(-1, 1, size=(n, 1)), random.uniform(-1, 1, size=(n, 4))
        features = np.cos(2 * np.pi * (k * x + u / 8)) + noise * eps[:, :3]
        return x, features, features @ (1 / k) + noise * eps[:, 3]

    mean = np.sinc(0.25)  # E cos(2π(kx + u/8) | x) = cos(2πkx)·sin(π/4)/(π/4)
    star = 1 / k
    amplitude = np.vstack([np.diag(1j * np.full(3, mean)), 1j * mean * star])
    eigenvalue = sobolev_eigenvalue(smoothness, terms)
    waves = TorusWaves(amplitude, 2 * np.pi * k[:, None], eigenvalue)
    # Different φ_k share u, but E cos(2πkx + c) cos(2πlx + c) = 0 for k ≠ l.
    second = star @ (star * (0.5 + noise**2 / 3)) + noise**2 / 3
    return LinearPopulation(
        f"torus_regression, s = {smoothness:g}", waves, second, SobolevTorus(smoothness, terms),
        ridge, draw, (-np.ones(3), np.ones(3)),
    )


# -- one-dimensional problems with other losses ----------------------------------------------------


def _line(level):
    return gauss_legendre(level)


def _spread(rule, outcomes):
    """Nodes of x times outcomes given x: outcomes(x) yields (targets, probabilities (N,))."""
    nodes, weights = rule
    x, targets, probabilities = [], [], []
    for target, probability in outcomes(nodes):
        x.append(nodes[:, None])
        targets.append(target)
        probabilities.append(weights * probability)
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *targets)
    return np.concatenate(x), stacked, np.concatenate(probabilities)


def weighted_logistic(omega, prediction, target):
    """σ(ω_g) log(1 + exp(−t h)), g the group of the sample."""
    label, group = target
    return jax.nn.sigmoid(omega[group]) * jnp.logaddexp(0.0, -label * prediction)


def plain_logistic(omega, prediction, target):
    """log(1 + exp(−t h))."""
    return jnp.logaddexp(0.0, -target * prediction)


def logistic_weights(ridge=1e-2):
    """Two groups of labels of different quality, their weights in ω: logistic inner and outer loss.

        x ~ U[−1, 1],  P(t = 1 | x) = σ(3 sin 3x) in group 0, the complement in a third of group 1
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
        lambda level: (_spread(_line(level), outcomes), _spread(_line(level), clean_outcomes)),
        draw, (-2 * np.ones(2), 2 * np.ones(2)),
    )


def huber_inner(omega, prediction, target):
    """δ²(√(1 + (u/δ)²) − 1), u = h(x) − φᵀω, δ = ½: Huber's loss, with three derivatives."""
    return 0.25 * (jnp.sqrt(1 + 4 * (prediction - target @ omega) ** 2) - 1)


def _two_features(x, sign):
    """φ given x and a fair coin: bounded, two nodes."""
    return np.stack([np.sin(3 * x) + 0.4 * sign, np.cos(2 * x) - 0.4 * sign], 1)


def _coin_problem(name, losses, kernel, ridge, response):
    """φ(x, coin) inside, a response of (x, coin) outside."""

    def rule(level):
        line = _line(level)
        coin = lambda make: (lambda x: ((make(x, s), np.full_like(x, 0.5)) for s in (-1, 1)))  # noqa: E731
        return _spread(line, coin(_two_features)), _spread(line, coin(response))

    def draw(random, n):
        x, sign = random.uniform(-1, 1, (n, 1)), random.choice([-1.0, 1.0], size=n)
        return (x, _two_features(x[:, 0], sign)), (x, response(x[:, 0], sign))

    return QuadraturePopulation(
        name, losses, kernel, ridge, rule, draw, (-np.ones(2), np.ones(2))
    )


def huber_targets(ridge=1e-2):
    """Targets φᵀω under the (smooth) Huber loss inside and the squared loss outside.

    Huber's own loss has a jump in its second derivative, and Theorem 4.1 asks for a third.
    """
    response = lambda x, s: np.sin(3 * x) + 0.5 * np.cos(2 * x) + 0.3 * s  # noqa: E731
    return _coin_problem(
        "huber_targets", (huber_inner, outer_loss), kernels.Matern52(0.5), ridge, response
    )


def poisson_inner(omega, prediction, target):
    """exp(h) − t h, t = exp(φᵀω) a rate."""
    return jnp.exp(prediction) - jnp.exp(target @ omega) * prediction


def pseudo_huber(omega, prediction, target):
    """√(1 + (h − y)²) − 1."""
    return jnp.sqrt(1 + (prediction - target) ** 2) - 1


def poisson_rates(ridge=1e-2):
    """Log-rates φᵀω under the Poisson likelihood inside, a robust loss outside."""
    response = lambda x, s: 0.5 * np.sin(3 * x) + 0.2 * s  # noqa: E731
    return _coin_problem(
        "poisson_rates", (poisson_inner, pseudo_huber), kernels.Matern32(0.7), ridge, response
    )


PROBLEMS = {
    "kbo_paper_iv": kbo_paper_iv, "torus_regression": torus_regression,
    "logistic_weights": logistic_weights, "huber_targets": huber_targets,
    "poisson_rates": poisson_rates,
}
