"""Ridge systems with the whole Gram matrix of the inner points, by factorisation."""

from __future__ import annotations

import numpy as np

from ... import linalg
from ...instance import of_instance
from ...spaces.base import replicates_first, replicates_last
from .coupled import Simplex, weighted_ridge
from .representer import RepresenterSystem
from .systems import FactoredSystem, host
from .weighted_ridge import SubGram


@of_instance(donate=True)
def _gram(instance, out):
    return linalg.gram(instance.space.kernel, instance.inner.x, out)


@of_instance
def _cross_gram(instance):
    return linalg.cross_gram(instance.space.kernel, instance.outer.x, instance.inner.x)


class KernelSystem(FactoredSystem, RepresenterSystem):
    """(αI + CK)β = rhs with the whole Gram matrix K in memory, and a factor for each replicate."""

    def __init__(self, instance, workspace):
        super().__init__(instance)
        self._shared, self._arena = instance.shared, workspace.arena
        self._arena.reset()
        x = instance.inner.x
        self.size, side = x.shape[0], linalg.tiled_size(x.shape[0])
        out, workspace.gram = workspace.gram, None
        if out is None or out.shape != (side, side) or out.dtype != x.dtype:
            out = np.zeros((side, side), x.dtype)
        self.gram = workspace.gram = _gram(instance, out)
        self.lower = host(self.gram)
        self._cross = None if self._shared else host(_cross_gram(instance))
        self.diagonal = self.lower.diagonal()[: self.size]

    def values(self, coefficients):
        flat = replicates_last(coefficients)
        return replicates_first(linalg.symmetric_product(self.lower, flat), len(self.alpha))

    def outer_values(self, coefficients, inner_values):
        if self._shared:
            return inner_values
        return replicates_first(
            linalg.product(self._cross, replicates_last(coefficients)), len(self.alpha)
        )

    def _outer_embedding(self, slopes):
        if self._shared:
            return self.values(slopes)
        return replicates_first(
            linalg.product(self._cross.T, replicates_last(slopes)), len(self.alpha)
        )

    def _factor(self, replicate, curvatures, probabilities):
        weights, alpha = self.weights[replicate], self.alpha[replicate]
        support = np.flatnonzero(weights > 0)
        kernel = SubGram(self.lower, support, self._arena)
        if probabilities is None:
            return weighted_ridge(kernel, curvatures[support], alpha)
        return Simplex(kernel, weights[support], probabilities[support], alpha)
