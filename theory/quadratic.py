"""Quadratic functions of ω: L of problems whose losses are squared and linear in ω."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

import kbo
from kbo.hypergradients.base import settled


class Quadratic(NamedTuple):
    """L(ω) = ½ ωᵀAω − bᵀω + c.

    Attributes
    ----------
    A : ndarray (q, q)
    b : ndarray (q,)
    c : float
    """

    A: np.ndarray
    b: np.ndarray
    c: float

    def value_and_grad(self, omega):
        """L(ω) and ∇L(ω)."""
        slope = self.A @ omega
        return float(0.5 * omega @ slope - self.b @ omega + self.c), slope - self.b

    def sup_grad(self, box):
        """max ‖∇L‖ over a box: ‖Aω − b‖ is convex, so it is attained at a vertex."""
        vertices = np.array(list(itertools.product(*zip(*box, strict=True))))
        return float(np.linalg.norm(vertices @ self.A - self.b, axis=1).max())

    def sup_value(self, box):
        """max |L| over a box, exactly: over the stationary points of all its 3^q faces."""
        best = 0.0
        for face in itertools.product((0, 1, None), repeat=len(self.b)):
            point = np.array([0.0 if end is None else box[end][k] for k, end in enumerate(face)])
            free = np.array([end is None for end in face])
            if free.any():
                block = self.A[np.ix_(free, free)]
                rhs = (self.b - self.A @ point)[free]
                point[free] = np.linalg.lstsq(block, rhs, rcond=None)[0]
                inside = (point >= box[0] - 1e-12).all() and (point <= box[1] + 1e-12).all()
                if not inside or not np.allclose(block @ point[free], rhs, atol=1e-12):
                    continue
            best = max(best, abs(self.value_and_grad(point)[0]))
        return best


def empirical_quadratic(problem, solver=None) -> Quadratic:
    """L of a sample, where the inner target is Φω and both losses are squared.

    h_ω = Σ_k ω_k h_k, one kernel ridge regression with q outputs: with H = (h_k(x'_j)) and y the
    outer targets, A = HᵀH/m, b = Hᵀy/m, c = yᵀy/2m.

    Parameters
    ----------
    problem : BilevelProblem
        As LinearPopulation samples it: the inner target is the matrix Φ (n, q).
    solver : kbo.solvers.Solver, default Exact()
    """
    features, y = np.asarray(problem.inner_data.target), np.asarray(problem.outer_data.target)
    regression = problem.replace(
        inner_loss=kbo.losses.Squared(), outer_loss=_none, n_outputs=features.shape[1]
    )
    with settled(regression, 0.0, solver or kbo.solvers.Exact()) as (canonical, omega, fixed):
        h = np.asarray(fixed.solve(canonical, omega).h_outer)[0]
    m = len(y)
    return Quadratic(h.T @ h / m, h.T @ y / m, float(y @ y) / (2 * m))


def _none(omega, prediction, target):
    """An outer loss that is not looked at."""
    return 0.0 * prediction.sum()
