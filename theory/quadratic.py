"""Quadratic functions of ω: L of problems with squared losses and inner targets linear in ω."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

import kbo
from kbo.search.session import prepare

# Cut-off for a singular block: |L| also takes the value at its stationary points on a smaller face.
RCOND = 1e-14


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
        """max |L| over a box, exactly: the largest at the stationary points of its 3^q faces.

        A, b and c may have leading axes; there is then one maximum for each of their entries.
        """
        A, b, c = np.asarray(self.A), np.asarray(self.b), np.asarray(self.c)
        best = np.zeros(c.shape)
        for face in itertools.product((0, 1, None), repeat=b.shape[-1]):
            fixed = np.array([0.0 if end is None else box[end][k] for k, end in enumerate(face)])
            free = np.array([end is None for end in face])
            point, found = np.broadcast_to(fixed, b.shape).copy(), np.ones(c.shape, bool)
            if free.any():
                block = A[..., free, :][..., free]
                rhs = (b - A @ fixed)[..., free]
                inverse = np.linalg.pinv(block, rcond=RCOND, hermitian=True)
                point[..., free] = (inverse @ rhs[..., None])[..., 0]
                solved = (block @ point[..., free, None])[..., 0]
                found = np.isclose(solved, rhs, atol=1e-12).all(-1)
                found &= ((point >= box[0] - 1e-12) & (point <= box[1] + 1e-12)).all(-1)
            value = np.einsum("...i,...ij,...j", point, 0.5 * A, point) - (b * point).sum(-1) + c
            best = np.where(found, np.maximum(best, np.abs(value)), best)
        return best if best.ndim else float(best)


def empirical_quadratic(problem, solver=None) -> Quadratic:
    """L of a sample, where the inner targets are Φω and both losses are squared.

    h_ω = Σ_k ω_k h_k, where the h_k are one kernel ridge regression with q outputs. With
    H = (h_k(x'_j))_jk and the outer targets y, A = HᵀH/m, b = Hᵀy/m and c = yᵀy/2m.

    Parameters
    ----------
    problem : BilevelProblem
        As sampled by LinearPopulation: the inner target is the matrix Φ (n, q).
    solver : kbo.solvers.Solver, default Exact()
    """
    features, y = np.asarray(problem.inner_data.target), np.asarray(problem.outer_data.target)
    regression = problem.replace(
        inner_loss=kbo.losses.Squared(), outer_loss=_none, n_outputs=features.shape[1]
    )
    with prepare(regression, 0.0, solver or kbo.solvers.Exact()) as session:
        h = np.asarray(session.solve().h_outer)[0]
    m = len(y)
    return Quadratic(h.T @ h / m, h.T @ y / m, float(y @ y) / (2 * m))


def _none(omega, prediction, target):
    """An outer loss of zero, as only the inner problem is solved."""
    return 0.0 * prediction.sum()
