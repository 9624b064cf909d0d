"""Mercer expansions k(x, z) = Σ_j μ_j ψ_j(x) ψ_j(z) on the line, ψ orthonormal under a density."""

from __future__ import annotations

import abc

import numpy as np
import scipy.linalg

from ..checks import count, positive


class Spectrum(abc.ABC):
    """Eigenvalues and eigenfunctions of a kernel's integral operator under a density.

    Attributes
    ----------
    eigenvalues : ndarray (J,)
        Decreasing.
    ratio : float or None
        μ_{j+1}/μ_j where it is the same for all j.
    """

    eigenvalues: np.ndarray
    ratio: float | None = None

    @abc.abstractmethod
    def fourier(self, frequency) -> np.ndarray:
        """E[e^{iκx} ψ_j(x)], (J,) complex, with κ the ``frequency``."""

    @abc.abstractmethod
    def functions(self, x) -> np.ndarray:
        """ψ_j(x), (n, J)."""

    def beyond(self, ridge) -> float:
        """A bound on the filter μ/(μ + ridge) beyond the nodes, times the probability there."""
        return 0.0

    def missing(self, frequency) -> float:
        """``‖e^{iκx}‖² − Σ_j |E[e^{iκx}ψ_j]|² ≥ 0``, outside the span, with κ = ``frequency``."""
        return max(0.0, 1.0 - float(np.sum(np.abs(self.fourier(frequency)) ** 2)))


class GaussianHermite(Spectrum):
    """k(x, z) = exp(−(x − z)²/2ℓ²) under N(0, 1), in closed form::

        μ_j = √(2a/A) (b/A)^j    ψ_j(x) ∝ exp(−(c − a)x²) H_j(√(2c) x)
        a = ¼,  b = 1/2ℓ²,  c = √(a² + 2ab),  A = a + b + c

    The Fourier coefficients follow from the generating function of the Hermite polynomials::

        E[e^{iκx} ψ_j] = (c/a)^¼ √(2a/(a+c)) e^{−κ²/4(a+c)} (ir)^j H_j(κ√(2c)/2(a+c)r) / √(2^j j!),
        r² = (c − a)/(c + a).

    Parameters
    ----------
    lengthscale : float
        ℓ.
    size : int or None
        J; with None, all eigenvalues above 1e-17 times the first.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eqs. (4.39)-(4.40).
    """

    def __init__(self, lengthscale, size=None):
        self.a, b = 0.25, 0.5 / positive("lengthscale", lengthscale) ** 2
        self.c = np.sqrt(self.a**2 + 2 * self.a * b)
        total = self.a + b + self.c
        self.ratio = ratio = b / total
        needed = int(np.ceil(np.log(1e-17) / np.log(ratio))) + 1
        size = needed if size is None else count("size", size, 1)
        self.eigenvalues = np.sqrt(2 * self.a / total) * ratio ** np.arange(size)

    def fourier(self, frequency):
        """E[e^{iκx} ψ_j(x)], (J,) complex."""
        a, c = self.a, self.c
        r = np.sqrt((c - a) / (c + a))
        z = frequency * np.sqrt(2 * c) / (2 * (a + c) * r)
        first = (c / a) ** 0.25 * np.sqrt(2 * a / (a + c)) * np.exp(-(frequency**2) / (4 * (a + c)))
        scaled = _hermite(np.array([z]), len(self.eigenvalues), first, r)[0]
        return scaled * 1j ** (np.arange(len(scaled)) % 4)

    def functions(self, x):
        """ψ_j(x), (n, J)."""
        x = np.asarray(x, float)
        first = (self.c / self.a) ** 0.25 * np.exp(-(self.c - self.a) * x**2)
        return _hermite(np.sqrt(2 * self.c) * x, len(self.eigenvalues), first, 1.0)


def _hermite(z, size, first, decay):
    """first · decay^j H_j(z)/√(2^j j!), (n, size), by the three-term recurrence."""
    out = np.zeros((len(z), size))
    out[:, 0] = first
    if size > 1:
        out[:, 1] = decay * np.sqrt(2.0) * z * out[:, 0]
    for j in range(1, size - 1):
        out[:, j + 1] = (
            decay * np.sqrt(2 / (j + 1)) * z * out[:, j]
            - decay**2 * np.sqrt(j / (j + 1)) * out[:, j - 1]
        )
    return out


class Discretised(Spectrum):
    """Any kernel and smooth density on the line, discretised by the trapezoidal rule on [−R, R].

    For functions analytic in a strip the rule converges exponentially in 1/step (Trefethen,
    Weideman 2014). What lies beyond R is left out: its probability is ``tail``, and the norm of the
    operator there is at most ``sup_{|x|>R} p(x) ∫|k|`` (Schur's test).

    Parameters
    ----------
    kernel : callable
        (x (n, 1), z (1, n)) ↦ (n, n).
    density : callable
        x ↦ p(x).
    reach, step : float
        R and the distance between nodes.
    floor : float
        Eigenvalues above ``floor`` times the first are kept.

    Attributes
    ----------
    tail : float
        The probability left out: 1 − Σ of the nodes' weights.
    """

    def __init__(self, kernel, density, reach, step, floor=1e-14):
        k = int(np.ceil(reach / step))
        self.nodes = step * np.arange(-k, k + 1)
        self.weights = step * density(self.nodes)
        self.tail = max(0.0, 1.0 - float(self.weights.sum()))
        self._kernel = kernel
        mass = step * np.abs(kernel(np.zeros((1, 1)), self.nodes[None])).sum()
        self._norm_beyond = float(density(self.nodes[-1]) * mass)
        root = np.sqrt(self.weights)
        gram = root[:, None] * kernel(self.nodes[:, None], self.nodes[None]) * root
        values, vectors = scipy.linalg.eigh(gram, overwrite_a=True)
        values, vectors = values[::-1], vectors[:, ::-1]
        kept = int((values > floor * values[0]).sum())
        self.eigenvalues = values[:kept]
        self._at_nodes = np.divide(
            vectors[:, :kept], root[:, None], out=np.zeros((len(root), kept)),
            where=root[:, None] > 0,
        )

    def beyond(self, ridge):
        """The filter's bound for ``|x| > R``, from Schur's test, times the probability ``tail``."""
        return self.tail * self._norm_beyond / (self._norm_beyond + ridge)

    def fourier(self, frequency):
        """E[e^{iκx} ψ_j(x)], (J,) complex, by the trapezoidal rule."""
        return (self.weights * np.exp(1j * frequency * self.nodes)) @ self._at_nodes

    def functions(self, x):
        """ψ_j(x) = E[k(x, z) ψ_j(z)]/μ_j, (n, J): Nyström's extension."""
        x = np.asarray(x, float)
        cross = self._kernel(x[:, None], self.nodes[None]) * self.weights
        return cross @ self._at_nodes / self.eigenvalues
