"""The reduced form of a linear model with one endogenous column: inference whatever its strength.

Standard errors of two-stage least squares are too small where instruments are weak. What is said
here of the coefficient uses only regressions on the instruments, which are as good as any.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2

from .data import SAME
from .projection import Projection, scaled_rows

ANGLES = 2001  # at which the statistic is evaluated to find where it crosses its quantile
RIDGE = 1e-12  # relative, so that errors that are all zero can be divided by


class ReducedForm(NamedTuple):
    """Regressions of y and of the one endogenous column D on a basis Q of what was excluded::

        Qᵀy = δ,   QᵀD = π,   Q orthonormal, exogenous columns partialled out of everything
        S_ab = n/(n − r) Σ_i q_i q_iᵀ a_i b_i   for the errors a, b of these regressions (HC1)

    Attributes
    ----------
    column : int
        Which column is D.
    effects : ndarray (k, 2)
        δ and π.
    spreads : ndarray (3, k, k)
        S_yy, S_yD and S_DD.
    """

    column: int
    effects: np.ndarray
    spreads: np.ndarray

    @classmethod
    def of(cls, columns, y, projection):
        """From columns (n, p), with a constant, and the projection onto the instruments' span.

        None unless exactly one column is endogenous and something else explains it.
        """
        root = projection.root
        own = scaled_rows(columns, root)
        missed = np.linalg.norm(own - projection.basis @ (projection.basis.T @ own), axis=0)
        endogenous = np.flatnonzero(missed > SAME)
        exogenous = Projection.on(np.delete(columns, endogenous, axis=1), root)
        if len(endogenous) != 1 or exogenous.rank == projection.rank:
            return None
        treatment, known = columns[:, endogenous[0]], exogenous.basis
        basis = projection.basis - known @ (known.T @ projection.basis)
        left, levels, _ = np.linalg.svd(basis, full_matrices=False)
        basis = left[:, levels > 0.5]  # 0 in the span of the exogenous columns, else 1
        pair = root[:, None] * np.column_stack([y, treatment])
        pair = pair - known @ (known.T @ pair)
        effects = basis.T @ pair
        errors = pair - basis @ effects
        free = len(y) - projection.rank
        products = [errors[:, 0] ** 2, errors[:, 0] * errors[:, 1], errors[:, 1] ** 2]
        spreads = [basis.T @ (each[:, None] * basis) for each in products]
        spreads = np.stack(spreads)
        return cls(int(endogenous[0]), effects, spreads * len(y) / max(free, 1))

    @property
    def effective_f(self) -> float:
        """‖π‖²/tr S_DD."""
        return float(np.sum(self.effects[:, 1] ** 2) / np.trace(self.spreads[2]))

    def confidence_set(self, level, center, unit):
        """{b : (δ − bπ)ᵀ (S_yy − 2b S_yD + b² S_DD)⁻¹ (δ − bπ) ≤ χ²_k(level)}, (m, 2).

        Crossings are looked for at b = center + unit·tan θ on a grid of θ, then found exactly.
        """
        quantile = chi2.ppf(level, len(self.effects))

        def excess(angle):
            """The statistic minus its quantile; it is the same for all multiples of (1, b)."""
            own, slope = np.cos(angle), center * np.cos(angle) + unit * np.sin(angle)
            off = np.multiply.outer(own, self.effects[:, 0])
            off = off - np.multiply.outer(slope, self.effects[:, 1])
            parts = np.stack([own**2, -2 * own * slope, slope**2], axis=-1)
            spread = np.tensordot(parts, self.spreads, axes=1)
            size = np.trace(spread, axis1=-2, axis2=-1)[..., None, None]
            spread = spread + (RIDGE * size + np.finfo(float).tiny) * np.eye(len(self.effects))
            return np.sum(off * np.linalg.solve(spread, off[..., None])[..., 0], axis=-1) - quantile

        angles = np.linspace(-np.pi / 2, np.pi / 2, ANGLES)
        values = excess(angles)
        signs = values <= 0
        crossed = np.flatnonzero(signs[1:] != signs[:-1])
        ends = [brentq(excess, angles[k], angles[k + 1]) for k in crossed]
        ends = list(center + unit * np.tan(ends)) if ends else []
        if signs[0]:
            ends = [-np.inf, *ends]
        if signs[-1]:
            ends = [*ends, np.inf]
        return np.reshape(ends, (-1, 2))
