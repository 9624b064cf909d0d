"""Finite features: h = φ(·)ᵀθ by its normal equations."""

from __future__ import annotations

import equinox as eqx
import numpy as np

from .. import linalg
from ..linalg import Cholesky
from ..spaces.base import replicates_first, replicates_last
from .base import AdjointSolution
from .systems import Factor, FactoredSystem, host
from .weighted_ridge import decouple, solve_columns


@eqx.filter_jit
def _feature_matrices(problem, omega, shared):
    instance = problem.at(omega)
    inner = instance.space.features(instance.inner.x)
    return inner, inner if shared else instance.space.features(instance.outer.x)


class FeatureSystem(FactoredSystem):
    """h = φ(·)ᵀθ: the normal equations of a finite feature map."""

    def __init__(self, problem, omega, shared):
        super().__init__(problem, omega)
        inner, outer = _feature_matrices(problem, omega, shared)
        self.features, self.outer_features = host(inner), host(outer)
        self.size = self.features.shape[1]

    def _times(self, matrix, coefficients):
        """matrix @ each replicate, (F, rows, p)."""
        product = linalg.product(matrix, replicates_last(coefficients))
        return replicates_first(product, len(self.alpha))

    def values(self, coefficients):
        return self._times(self.features, coefficients)

    def outer_values(self, coefficients, inner_values):
        return self._times(self.outer_features, coefficients)

    def pairing(self, left, right, right_values):
        return np.sum(left * right, (1, 2))

    def norm_bound(self, coefficients):
        return np.linalg.norm(coefficients, axis=(1, 2))

    def gradient(self, slopes, coefficients):
        weighted = self.weights[:, :, None] * slopes
        mean = self._times(self.features.T, weighted)
        return mean / self.total[:, None, None] + self.ridge[:, None, None] * coefficients

    def _factor(self, replicate, curvatures, probabilities):
        return _FeatureFactor(self.features, curvatures, self.alpha[replicate])

    def minimise(self, functional):
        return self.solve(-self._times(self.features.T, functional))

    def adjoint(self, slopes, curvatures):
        scaled = slopes * self.total[:, None, None]
        rhs = -self._times(self.outer_features.T, scaled)

        def apply(theta):
            curved = np.einsum("fiab,fib->fia", curvatures, self.values(theta))
            image = self._times(self.features.T, curved)
            return image + self.alpha[:, None, None] * theta, None

        theta, _, rest = self._refined(apply, rhs, curvatures)
        residual = float((self.norm_bound(rest) / self.total).max())
        return AdjointSolution(theta, theta, False, residual)


class _FeatureFactor(Factor):
    """One factor for all outputs, one for each, or one for the coupled whole."""

    def __init__(self, features, curvatures, alpha):
        q, p = features.shape[1], curvatures.shape[-1]
        C = decouple(curvatures)
        if C.ndim == 3:
            matrix = np.empty((q, p, q, p))
            for a, b in zip(*np.tril_indices(p), strict=True):  # a product of matrices each
                block = linalg.product(features.T, C[:, a, b, None] * features)
                matrix[:, a, :, b] = matrix[:, b, :, a] = block
            matrices = [matrix.reshape(q * p, q * p)]
        else:
            columns = np.atleast_2d(C.T)
            matrices = [linalg.product(features.T, c[:, None] * features) for c in columns]
        self._coupled = C.ndim == 3
        self._factors = []
        for matrix in matrices:
            build = lambda matrix=matrix: matrix + alpha * np.eye(len(matrix))  # noqa: E731
            self._factors.append(Cholesky(build))
        self.jitter = max(factor.jitter for factor in self._factors)

    def solve(self, rhs):
        if self._coupled:
            return self._factors[0].solve(rhs.ravel()).reshape(rhs.shape)
        return solve_columns(self._factors, rhs)
