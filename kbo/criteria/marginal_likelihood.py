"""The marginal likelihood of the Gaussian process with the same mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Derivative, GramCriterion


class MarginalLikelihood(GramCriterion):
    """L = −log p(t/unit), output p being N(0, c_p (K + αW⁻¹)) with c_p by maximum likelihood::

        L = ½ Σ_p [n log(t_pᵀ(K + αW⁻¹)⁻¹t_p / (n unit²)) + log det(K + αW⁻¹) + n + n log 2π]

    over the n points of positive weight. α is the ratio of the noise variance to the amplitude, and
    w_i is the relative precision of a point. The problem's outer data and loss are not used.

    Parameters
    ----------
    unit : float
        The unit of the targets. It adds a constant to L, so that L does not depend on their units.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eq. (2.30).
    """

    unit: Any = 1.0

    def _value(self, regression, instance):
        n, p = regression.targets.shape
        u = regression.dual
        energy = np.sum(regression.root[:, None] * regression.targets * u, 0)
        if not (energy > 0).all():
            raise ValueError("MarginalLikelihood needs targets that are not all zero")
        logdet = regression.factor.log_determinant() - 2 * np.sum(np.log(regression.root))
        value = 0.5 * n * np.sum(np.log(energy / n / float(self.unit) ** 2)) + 0.5 * p * logdet
        value += 0.5 * n * p * (1 + np.log(2 * np.pi))

        def derive():
            fitted = np.sqrt(0.5 * n / energy) * u
            return Derivative(np.zeros((0, n)), fitted.T, multiple=0.5 * p)

        return float(value + regression.penalty), derive
