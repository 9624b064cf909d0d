"""The instrumental-variable problem of the paper, with Gaussian and heavy-tailed inputs."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy.special import betaln

from kbo import RKHS, kernels

from ..checks import point, positive, stream
from ..population import Discretised, GaussianHermite, LinearPopulation, ProductWaves

NOISE = 0.1  # variance of η
LENGTHSCALE, RIDGE, DIMENSION = 0.2, 1e-2, 3


def student_density(x, df):
    """p(x) of Student's t."""
    log = -betaln(0.5, df / 2) - 0.5 * np.log(df)
    return np.exp(log - (df + 1) / 2 * np.log1p(x**2 / df))


def student_characteristic(frequency, df):
    """E e^{iκx} = E exp(−κ²V/2): x is normal given its variance V = ν/χ²_ν.

    The closed form with the Bessel function K_{ν/2} overflows from ν = 343 on. In u = −log V the
    density is proportional to exp(−(ν/2)(e^u − u)), for which the trapezoidal rule converges
    exponentially at any ν.
    """
    width = np.sqrt(160 / df)
    u = np.linspace(-80 / df - width, width, 4001)  # exp(−40) is left at the ends
    weight = np.exp(-df / 2 * (np.expm1(u) - u))
    return float(weight @ np.exp(-0.5 * frequency**2 * np.exp(-u)) / weight.sum())


def kbo_paper_iv(inputs="gaussian", ridge=RIDGE, omega_star=None, random_state=0):
    """The instrumental-variable experiment of El Khoury et al. (2025), Section 5.

    The data, the losses and the kernel are::

        x ∈ ℝ³ iid,  t = 2Σ_d x_d + η,  φ_k(t) = sin(t + k), k = 1…4,  y = φ(t)ᵀω* + η/2
        inner ½(h(x) − φ(t)ᵀω)²,  outer ½(h(x') − y')²,  k(x, z) = exp(−‖x − z‖²/2·0.2²)

    Parameters
    ----------
    inputs : "gaussian" or float
        x ~ N(0, 1), or Student's t with this many degrees of freedom (more than 2).
    ridge : float
    omega_star : array (4,), optional
        By default drawn uniformly from [0, 1]⁴ with ``random_state``, independently of ``start``
        with the same seed.
    random_state : int

    Raises
    ------
    ValueError
        For other inputs, a ridge that is not positive, or an ω* that is not four finite numbers.
    """
    k, ridge = np.arange(1, 5), positive("ridge", ridge)
    star = (
        stream("star", random_state).uniform(size=4) if omega_star is None
        else point("omega_star", omega_star, 4)
    )
    if isinstance(inputs, str) and inputs == "gaussian":
        spectrum, characteristic = GaussianHermite(LENGTHSCALE), lambda c: np.exp(-(c**2) / 2)
        draw_x = lambda random, n: random.standard_normal((n, DIMENSION))  # noqa: E731
    else:
        if isinstance(inputs, bool) or not isinstance(inputs, Real) or not 2 < inputs < np.inf:
            raise ValueError(
                f"inputs={inputs!r} must be 'gaussian' or finite degrees of freedom above 2"
            )
        df = float(inputs)
        spectrum = student_spectrum(df)
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
        name, waves, second, RKHS(kernels.Gaussian(LENGTHSCALE)), ridge, draw,
        (np.zeros(4), np.ones(4)),
        ("the noise η, and with it the outer target, is unbounded",),
    )


def student_spectrum(df, reach=80.0, step=0.06):
    """The Mercer expansion of the paper's kernel under Student's t, for one coordinate."""
    kernel = lambda x, z: np.exp(-0.5 * ((x - z) / LENGTHSCALE) ** 2)  # noqa: E731
    return Discretised(kernel, lambda x: student_density(x, df), reach, step, floor=1e-6)
