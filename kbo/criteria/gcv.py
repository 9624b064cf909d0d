"""Generalised cross-validation."""

from __future__ import annotations

import numpy as np

from .base import Derivative, GramCriterion, polarised


class GCV(GramCriterion):
    """L = ½ (1/N) Σ w_i ‖t_i − h(x_i)‖² / (1 − tr P / N)², N = Σw, P = SKS A⁻¹.

    The effective degrees of freedom tr P take the place of leaving points out. A weight of k means
    k repetitions of the point. The problem's outer data and loss are not used.

    References
    ----------
    Golub, Heath, Wahba (1979), Generalized Cross-Validation as a Method for Choosing a Good Ridge
    Parameter, eq. (1.4).
    """

    def _value(self, regression, instance):
        u, alpha = regression.dual, regression.alpha
        total, k = np.sum(regression.root**2), len(u)
        trace = np.trace(regression.inverse)
        energy = np.sum(u**2)
        free = total - k + alpha * trace  # N − tr P
        value = 0.5 * total * alpha**2 * energy / free**2

        def derive():
            by_energy = 0.5 * total * alpha**2 / free**2
            by_free = -2 * value / free
            inverse = regression.whole_inverse
            # ∂‖u‖²/∂A = −2 sym(A⁻¹u uᵀ) and ∂ tr A⁻¹/∂A = −A⁻².
            minus, plus = polarised(2 * by_energy * (inverse @ u), u)
            squared = np.sqrt(-by_free * alpha) * inverse
            direct = 2 * value / alpha + by_free * trace
            return Derivative(np.vstack([plus, squared]), minus, alpha=direct)

        return float(value + regression.penalty), derive
