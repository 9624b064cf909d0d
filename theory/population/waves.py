"""Functions that are sums of plane waves, in the eigenbasis of a kernel.

A table of waves gives C functions f_c(x) = Im Σ_r amplitude[c, r] e^{iκ_r·x}. The theory needs
their ``moments`` Σ_j s(μ_j) E[f_c ψ_j] E[f_d ψ_j] for various functions s of the eigenvalues.
"""

from __future__ import annotations

import abc
from functools import reduce

import numpy as np

from ..checks import count

LARGEST = 2**23  # at most so many frequencies, or multi-indices without the first, held at once


class Waves(abc.ABC):
    """C sums of plane waves, in the eigenbasis of a kernel.

    Parameters
    ----------
    amplitudes : array (C, R), complex
    frequencies : array (R, p)
    """

    def __init__(self, amplitudes, frequencies):
        self.amplitudes = np.asarray(amplitudes, complex)
        self.frequencies = np.atleast_2d(np.asarray(frequencies, float))

    def __call__(self, x):
        """f_c(x) at points x (n, p), (n, C)."""
        return np.imag(np.exp(1j * x @ self.frequencies.T) @ self.amplitudes.T)

    @abc.abstractmethod
    def moments(self, *weights):
        """Σ_j s(μ_j) E[f_c ψ_j] E[f_d ψ_j], a (C, C) matrix for each function s in ``weights``."""

    @abc.abstractmethod
    def filtered(self, x, weight):
        """Σ_j s(μ_j) E[f_c ψ_j] ψ_j(x), (n, C), for a function s, ``weight``."""

    @abc.abstractmethod
    def trace(self, weight):
        """Σ_j s(μ_j), s being ``weight``: the effective dimension for s = μ/(μ + ridge)."""

    @abc.abstractmethod
    def truncation(self, ridge):
        """A bound on ``Σ s(μ_j) |E[f_c ψ_j]|²``, s = μ/(μ + ridge), over the j left out."""


class ProductWaves(Waves):
    """Product density and product kernel: multi-indices j = (j_1, …, j_p), μ_j = Π_d μ_{j_d}.

    Where all coordinates share one geometric spectrum, μ_j depends only on the degree Σ_d j_d, and
    sums over the multi-indices of one degree are p-fold convolutions, which take milliseconds for
    any p. Otherwise the products of the eigenvalues of all coordinates but the first are held at
    once.

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
        """(μ (S,), coefficients (R, S)) of all multi-indices, for each first index in turn.

        Indices that together change no sum of |coefficients|²·weight by more than 1e-11 of it are
        left out, unless ``weights`` is None.
        """
        first, *others = [
            (s.eigenvalues, np.array([s.fourier(kappa) for kappa in column]))
            for s, column in zip(self.spectra, frequencies.T, strict=True)
        ]
        outer = lambda left, right: (  # noqa: E731
            np.outer(left[0], right[0]).ravel(),
            np.einsum("ra,rb->rab", left[1], right[1]).reshape(len(left[1]), -1),
        )
        self._refuse_too_many()
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

    def _refuse_too_many(self):
        sizes = [len(s.eigenvalues) for s in self.spectra]
        if np.prod(sizes[1:], dtype=float) > LARGEST:
            raise ValueError(
                f"spectra of sizes {sizes} have {np.prod(sizes, dtype=float):.1e} products of "
                "eigenvalues, too many to hold: use fewer coordinates, a longer lengthscale, or "
                "one geometric spectrum (GaussianHermite) for all, of which only values and "
                "gradients are asked"
            )

    @property
    def _geometric(self):
        """The common ratio μ_{j+1}/μ_j where all spectra are the same, else None."""
        ratios = {(s.ratio, s.eigenvalues[0], len(s.eigenvalues)) for s in self.spectra}
        return ratios.pop()[0] if len(ratios) == 1 else None

    def _degrees(self, sequences):
        """For each degree, μ and the sum of Π_d sequence_d over its multi-indices.

        The sum is a p-fold convolution. There is one sequence (…, J) for each coordinate.
        """
        total = sequences[0]
        for sequence in sequences[1:]:
            total = _convolved(total, sequence)
        top = np.prod([s.eigenvalues[0] for s in self.spectra])
        return top * self._geometric ** np.arange(total.shape[-1]), total

    def moments(self, *weights):
        """Σ_j s(μ_j) E[f_c ψ_j] E[f_d ψ_j], a (C, C) matrix for each function s in ``weights``."""
        if self._geometric is not None:
            # Im A · Im B = ½ Re(A B* − A B), where A and B are sums over the waves.
            at = [
                np.array([s.fourier(kappa) for kappa in column])
                for s, column in zip(self.spectra, self.frequencies.T, strict=True)
            ]
            a = self.amplitudes
            mu, mixed = self._degrees([c[:, None] * c.conj() for c in at])
            _, plain = self._degrees([c[:, None] * c for c in at])
            both = lambda s: a @ (mixed @ s) @ a.conj().T - a @ (plain @ s) @ a.T  # noqa: E731
            return np.array([0.5 * np.real(both(weight(mu))) for weight in weights])
        size = len(self.amplitudes)
        found = np.zeros((len(weights), size, size))
        for mu, waves in self._slabs(self.frequencies, weights):
            c = np.imag(self.amplitudes @ waves)
            for k, weight in enumerate(weights):
                found[k] += (c * weight(mu)) @ c.T
        return found

    def filtered(self, x, weight):
        """Σ_j s(μ_j) E[f_c ψ_j] ψ_j(x), (n, C), in blocks of points."""
        self._refuse_too_many()
        rows = max(1, LARGEST // int(np.prod([len(s.eigenvalues) for s in self.spectra[1:]])))
        x = np.asarray(x)
        blocks = [x[k : k + rows] for k in range(0, max(len(x), 1), rows)]
        return np.concatenate([self._filtered(block, weight) for block in blocks])

    def _filtered(self, x, weight):
        at = [s.functions(column) for s, column in zip(self.spectra, x.T, strict=True)]
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
        """Σ_j s(μ_j) over all multi-indices."""
        if self._geometric is not None:
            mu, number = self._degrees([np.ones(len(s.eigenvalues)) for s in self.spectra])
            return float(weight(mu) @ number)
        none = np.zeros((1, len(self.spectra)))
        return float(sum(np.sum(weight(mu)) for mu, _ in self._slabs(none, None)))

    def truncation(self, ridge):
        """A bound on ``Σ s(μ_j) |E[f_c ψ_j]|²`` over the j left out, summed over coordinates."""
        top = [s.eigenvalues[0] for s in self.spectra]
        power = np.sum(np.abs(self.amplitudes), 1).max() ** 2
        bound = 0.0
        for d, spectrum in enumerate(self.spectra):
            others = np.prod(top[:d] + top[d + 1 :])
            largest = spectrum.eigenvalues[-1] * others
            unseen = max(spectrum.missing(kappa) for kappa in self.frequencies[:, d])
            bound += power * (largest / (largest + ridge) * unseen + spectrum.beyond(ridge))
        return float(bound)


def _convolved(left, right):
    """Convolution along the last axis.

    It is direct: the terms span more orders of magnitude than an FFT resolves.
    """
    size = left.shape[-1] + right.shape[-1] - 1
    out = np.zeros((*left.shape[:-1], size), np.result_type(left, right))
    for k in range(right.shape[-1]):
        out[..., k : k + left.shape[-1]] += left * right[..., k, None]
    return out


class TorusWaves(Waves):
    """The torus [0, 1)^p with uniform density and a translation-invariant kernel: ψ_j are waves.

    Parameters
    ----------
    amplitudes, frequencies
        As in Waves; frequencies are 2π times integers.
    eigenvalue : callable
        (R, p) frequencies ↦ μ (R,), even in each.
    terms : int or None
        Along each axis the kernel has the frequencies 2πκ, ``|κ| ≤ terms``; None for all integers.

    Raises
    ------
    ValueError
        For frequencies that are not 2π times integers, that repeat, or that the kernel lacks.
    """

    def __init__(self, amplitudes, frequencies, eigenvalue, terms=None):
        super().__init__(amplitudes, frequencies)
        self.eigenvalue = eigenvalue
        self.terms = None if terms is None else count("terms", terms, 1)
        whole = self.frequencies / (2 * np.pi)
        if not np.allclose(whole, np.round(whole)):
            raise ValueError("frequencies on the torus must be 2π times integers")
        if len({tuple(row) for row in np.vstack([whole, -whole]).round().tolist()}) != 2 * len(
            whole
        ):
            raise ValueError("frequencies must differ, also in sign, and not be zero")
        if terms is not None and np.abs(whole).max() > terms + 0.5:
            raise ValueError(
                f"terms={terms} leaves out the wave of frequency 2π·{np.abs(whole).max():.0f}: "
                "give at least as many terms as the waves have"
            )

    def moments(self, *weights):
        """Σ_j s(μ_j) E[f_c ψ_j] E[f_d ψ_j] for each s; ``‖Im(a e^{iκx})‖² = |a|²/2``."""
        mu = self.eigenvalue(self.frequencies)
        a = self.amplitudes
        return np.array([0.5 * np.real((a * weight(mu)) @ a.conj().T) for weight in weights])

    def filtered(self, x, weight):
        """Σ_j s(μ_j) E[f_c ψ_j] ψ_j(x), (n, C)."""
        scaled = self.amplitudes * weight(self.eigenvalue(self.frequencies))
        return np.imag(np.exp(1j * np.asarray(x) @ self.frequencies.T) @ scaled.T)

    def trace(self, weight):
        """Σ s(μ) over all frequencies of the kernel; infinite where ``terms`` is None."""
        if self.terms is None:
            return np.inf
        p = self.frequencies.shape[1]
        if float(2 * self.terms + 1) ** p > LARGEST:
            raise ValueError(
                f"terms={self.terms} on {p} axes are too many frequencies to sum: give fewer terms"
            )
        axis = 2 * np.pi * np.arange(-self.terms, self.terms + 1)
        mesh = np.meshgrid(*[axis] * p, indexing="ij")
        return float(weight(self.eigenvalue(np.stack([g.ravel() for g in mesh], 1))).sum())

    def truncation(self, ridge):
        """Zero, as nothing is left out."""
        return 0.0
