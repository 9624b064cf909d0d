"""Functions that are sums of plane waves, in the eigenbasis of a kernel.

A table of waves gives C functions f_c(x) = Im Σ_r amplitude[c, r] e^{iκ_r·x}. What the theory needs
of them is Σ_j s(μ_j) E[f_c ψ_j] E[f_d ψ_j] for various functions s of the eigenvalues: ``moments``.
"""

from __future__ import annotations

import abc
from functools import reduce

import numpy as np


class Waves(abc.ABC):
    """C functions in the eigenbasis of the kernel.

    Parameters
    ----------
    amplitudes : array (C, R), complex
    frequencies : array (R, p)
    """

    def __init__(self, amplitudes, frequencies):
        self.amplitudes = np.asarray(amplitudes, complex)
        self.frequencies = np.atleast_2d(np.asarray(frequencies, float))

    def __call__(self, x):
        """f_c(x), (n, C), for (n, p) points."""
        return np.imag(np.exp(1j * x @ self.frequencies.T) @ self.amplitudes.T)

    @abc.abstractmethod
    def moments(self, *weights):
        """Σ_j s(μ_j) E[f_c ψ_j] E[f_d ψ_j], a (C, C) matrix for each function s in ``weights``."""

    @abc.abstractmethod
    def filtered(self, x, weight):
        """Σ_j s(μ_j) E[f_c ψ_j] ψ_j(x), (n, C)."""

    @abc.abstractmethod
    def trace(self, weight):
        """Σ_j s(μ_j): the effective dimension for s = μ/(μ + ridge)."""

    @abc.abstractmethod
    def truncation(self, ridge):
        """A bound on Σ s(μ_j) |E[f_c ψ_j]|², s = μ/(μ + ridge), over the j left out."""


class ProductWaves(Waves):
    """Product density and product kernel: multi-indices j = (j_1, …, j_p), μ_j = Π_d μ_{j_d}.

    Parameters
    ----------
    amplitudes, frequencies
        As in Waves.
    spectra : list of Spectrum
        One for each of the p coordinates.
    """

    def __init__(self, amplitudes, frequencies, spectra):
        super().__init__(amplitudes, frequencies)
        self.spectra = spectra

    def _slabs(self, frequencies, weights):
        """(μ (S,), coefficients (R, S)) of the multi-indices, one of the first axis at a time.

        Indices that could change no sum of |coefficients|²·weight by 1e-11 of it are left out
        (none where ``weights`` is None).
        """
        first, *others = [
            (s.eigenvalues, np.array([s.fourier(kappa) for kappa in column]))
            for s, column in zip(self.spectra, frequencies.T, strict=True)
        ]
        outer = lambda left, right: (  # noqa: E731
            np.outer(left[0], right[0]).ravel(),
            np.einsum("ra,rb->rab", left[1], right[1]).reshape(len(left[1]), -1),
        )
        rest = reduce(outer, others) if others else (np.ones(1), np.ones((len(frequencies), 1)))
        size = (np.abs(rest[1]) ** 2).max(0)
        kept = np.full(len(size), weights is None)
        for weight in weights or ():
            ends = [weight(rest[0] * first[0][end]) for end in (0, -1)]
            bound = size * np.maximum(*ends)
            order = np.argsort(bound)
            kept[order[np.cumsum(bound[order]) > 1e-11 * bound.sum()]] = True
        rest = rest[0][kept], rest[1][:, kept]
        for mu, coefficient in zip(first[0], first[1].T, strict=True):
            yield mu * rest[0], coefficient[:, None] * rest[1]

    def moments(self, *weights):
        """See Waves."""
        size = len(self.amplitudes)
        found = np.zeros((len(weights), size, size))
        for mu, waves in self._slabs(self.frequencies, weights):
            c = np.imag(self.amplitudes @ waves)
            for k, weight in enumerate(weights):
                found[k] += (c * weight(mu)) @ c.T
        return found

    def filtered(self, x, weight):
        """See Waves."""
        at = [s.functions(column) for s, column in zip(self.spectra, np.asarray(x).T, strict=True)]
        first, *others = at
        out = np.zeros((len(x), len(self.amplitudes)))
        rest = reduce(
            lambda left, right: np.einsum("na,nb->nab", left, right).reshape(len(x), -1), others
        ) if others else np.ones((len(x), 1))
        for j, (mu, waves) in enumerate(self._slabs(self.frequencies, None)):
            c = np.imag(self.amplitudes @ waves) * weight(mu)
            out += first[:, j, None] * (rest @ c.T)
        return out

    def trace(self, weight):
        """See Waves."""
        none = np.zeros((1, len(self.spectra)))
        return float(sum(np.sum(weight(mu)) for mu, _ in self._slabs(none, None)))

    def truncation(self, ridge):
        """See Waves."""
        top = [s.eigenvalues[0] for s in self.spectra]
        power = np.sum(np.abs(self.amplitudes), 1).max() ** 2
        bound = 0.0
        for d, spectrum in enumerate(self.spectra):
            others = np.prod(top[:d] + top[d + 1 :])
            largest = spectrum.eigenvalues[-1] * others
            unseen = max(spectrum.missing(kappa) for kappa in self.frequencies[:, d])
            bound += power * (largest / (largest + ridge) * unseen + spectrum.beyond(ridge))
        return float(bound)


class TorusWaves(Waves):
    """The torus [0, 1)^p, uniform density, translation-invariant kernel: ψ are waves themselves.

    Parameters
    ----------
    amplitudes, frequencies
        As in Waves; frequencies are 2π times integers.
    eigenvalue : callable
        (R, p) frequencies ↦ μ (R,), even in each.
    """

    def __init__(self, amplitudes, frequencies, eigenvalue):
        super().__init__(amplitudes, frequencies)
        self.eigenvalue = eigenvalue
        whole = self.frequencies / (2 * np.pi)
        if not np.allclose(whole, np.round(whole)):
            raise ValueError("frequencies on the torus must be 2π times integers")
        if len({tuple(row) for row in np.vstack([whole, -whole]).round().tolist()}) != 2 * len(
            whole
        ):
            raise ValueError("frequencies must differ, also in sign, and not be zero")

    def moments(self, *weights):
        """See Waves: Im(a e^{iκx}) has norm² |a|²/2."""
        mu = self.eigenvalue(self.frequencies)
        a = self.amplitudes
        return np.array([0.5 * np.real((a * weight(mu)) @ a.conj().T) for weight in weights])

    def filtered(self, x, weight):
        """See Waves."""
        scaled = self.amplitudes * weight(self.eigenvalue(self.frequencies))
        return np.imag(np.exp(1j * np.asarray(x) @ self.frequencies.T) @ scaled.T)

    def trace(self, weight, largest=200):
        """See Waves; frequencies up to ``largest`` along each axis."""
        axis = 2 * np.pi * np.arange(-largest, largest + 1)
        mesh = np.meshgrid(*[axis] * self.frequencies.shape[1], indexing="ij")
        return float(weight(self.eigenvalue(np.stack([g.ravel() for g in mesh], 1))).sum())

    def truncation(self, ridge):
        """See Waves: nothing is left out."""
        return 0.0
