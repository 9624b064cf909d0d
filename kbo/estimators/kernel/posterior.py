"""The Gaussian process whose mean is a kernel ridge regression, and what each sample changes.

With A = K + alpha·W⁻¹ on n samples of weights w, the process has the covariance s² k and noise of
the variance s² alpha/w_i; s² is its most likely value. ``smoother`` is G(x)_i = ∂ĥ(x)/∂y_i.
"""

from __future__ import annotations

import abc
from functools import partial

import numpy as np

from ...arithmetic import arrays
from ...linalg import Cholesky, add_normal, product, symmetric_product
from ...programs import program
from ...spaces import Subspace
from .._common.predict import matrix_at
from .model import kernel_diagonal

ROWS = 2048  # samples whose kernel values with the centres are in memory together


@program
def _center_gram(space):
    return space.gram()


class Posterior(abc.ABC):
    """The posterior of h, in units of s².

    Parameters
    ----------
    kernel : Kernel
        With NumPy parameters.
    X : ndarray (n, d)
    weight : ndarray (n,)
        Positive.
    alpha : float

    Attributes
    ----------
    slack : ndarray (n,)
        1 − G(x_i)_i.
    """

    slack: np.ndarray

    def __init__(self, kernel, X, weight, alpha):
        self.kernel, self.X, self.weight, self.alpha = kernel, X, weight, alpha

    @abc.abstractmethod
    def rows(self, X):
        """What ``variance`` and ``smoother`` need to know of points X (k, d): (k, ·)."""

    @abc.abstractmethod
    def explained(self, rows):
        """k(x, x) less the posterior variance of h(x), (k,)."""

    @abc.abstractmethod
    def smoother(self, rows):
        """G(x)_i, (k, n)."""

    def variance(self, X, rows):
        """The variance of a new target of weight one at the points X, over s²: (k,)."""
        return np.maximum(kernel_diagonal(self.kernel, X) - self.explained(rows), 0) + self.alpha

    def variance_of_mean(self, X):
        """The variance of the mean of h over the points X (k, d), over s²: a number."""
        prior = matrix_at(self.kernel, X, X).mean()
        known = self.explained(self.rows(X).mean(0, keepdims=True))  # a quadratic form of rows
        return max(float(prior - known[0]), 0.0)

    @abc.abstractmethod
    def slack_within(self, members):
        """δ_ij − G(x_i)_j of some samples, (k, k)."""


class Whole(Posterior):
    """The posterior from all samples, by A⁻¹: n² numbers of memory."""

    def __init__(self, kernel, X, weight, alpha):
        super().__init__(kernel, X, weight, alpha)
        noise = alpha / weight

        def system():
            matrix = matrix_at(kernel, X, X)
            matrix.flat[:: len(X) + 1] += noise
            return matrix

        self._inverse = Cholesky(system).inverse(np.empty((len(X), len(X))))
        self._inverse = np.tril(self._inverse)  # finite above the diagonal too
        self.slack = noise * self._inverse.diagonal()

    def rows(self, X):
        """k(x, x_i) and G(x)_i, (k, 2n)."""
        rows = matrix_at(self.kernel, X, self.X)
        return np.hstack([rows, symmetric_product(self._inverse, rows.T).T])

    def slack_within(self, members):
        """alpha/w_i (A⁻¹)_ij."""
        lower = self._inverse[np.ix_(members, members)]
        # Only the lower triangle of A⁻¹ is stored, in the order of all samples.
        whole = np.where(members[:, None] >= members, lower, lower.T)
        return self.alpha / self.weight[members, None] * whole

    def explained(self, rows):
        """Σ_i k(x, x_i) G(x)_i."""
        known, smoother = np.split(rows, 2, axis=1)
        return np.sum(known * smoother, 1)

    def smoother(self, rows):
        """k(x, X) A⁻¹."""
        return np.split(rows, 2, axis=1)[1]


class Spanned(Posterior):
    """The posterior of a model in the span of M centres, in M² numbers of memory.

    With φ(x) = L⁻¹k(z, x) and LLᵀ = K_MM + δI, h = φ(x)·u has the precision αI + ΦᵀWΦ; what the
    centres cannot express, k(x, x) − ‖φ(x)‖², has the variance of the prior.

    References
    ----------
    Quiñonero-Candela, Rasmussen (2005), A Unifying View of Sparse Approximate Gaussian Process
    Regression, JMLR 6, Section 5 (deterministic training conditional).
    """

    def __init__(self, kernel, centers, X, weight, alpha):
        super().__init__(kernel, X, weight, alpha)
        self._centers = centers
        gram = np.array(_center_gram(Subspace(arrays(kernel, float), centers)))
        self._root = Cholesky(gram.copy, jitters=(0.0,))
        normal = alpha * np.eye(len(gram))
        for block in self._blocks():
            phi = self._phi(X[block]) * np.sqrt(weight[block])[:, None]
            add_normal(normal, np.ascontiguousarray(phi))
        self._precision = Cholesky(normal.copy)
        self.slack = np.concatenate([
            1 - weight[block] * np.sum(self._halved(self._phi(X[block])) ** 2, 0)
            for block in self._blocks()
        ]).clip(np.finfo(float).eps)

    def _blocks(self):
        return [slice(start, start + ROWS) for start in range(0, len(self.X), ROWS)]

    def _phi(self, X):
        return self._root.root_solve(matrix_at(self.kernel, X, self._centers).T).T

    def _halved(self, phi):
        """The columns with the squared norms φᵀ(αI + ΦᵀWΦ)⁻¹φ, (M, k)."""
        return self._precision.root_solve(np.asfortranarray(phi.T))

    def rows(self, X):
        """φ(x), (k, M)."""
        return self._phi(X)

    def slack_within(self, members):
        """δ_ij − φ_iᵀ(αI + ΦᵀWΦ)⁻¹φ_j w_j."""
        halved = self._halved(self._phi(self.X[members]))
        return np.eye(len(members)) - halved.T @ halved * self.weight[members]

    def explained(self, rows):
        """‖φ‖² − α φᵀ(αI + ΦᵀWΦ)⁻¹φ."""
        return np.sum(rows**2, 1) - self.alpha * np.sum(self._halved(rows) ** 2, 0)

    def smoother(self, rows):
        """φ(x)ᵀ(αI + ΦᵀWΦ)⁻¹ΦᵀW."""
        solved = self._precision.solve(np.asfortranarray(rows.T))
        through = partial(product, np.ascontiguousarray(
            self._root.root_solve(solved, transposed=True).T
        ))
        parts = [
            through(matrix_at(self.kernel, self._centers, self.X[block])) * self.weight[block]
            for block in self._blocks()
        ]
        return np.concatenate(parts, axis=1)
