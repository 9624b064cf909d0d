"""The Falkon solver: preconditioned conjugate gradients on the Nyström system."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np

from ..linalg import Cholesky
from .nystrom import PATIENCE, STORED
from .subspace_system import SubspaceSolver, SubspaceSystem


class Falkon(SubspaceSolver):
    """The same h_ω as Nystrom, by conjugate gradients: O(nM) a step where that needs O(nM²).

    In the coordinates u = Lᵀθ, LLᵀ = K_MM + δI, the system αI + L⁻¹K_nMᵀ C K_nM L⁻ᵀ has the
    preconditioner αI + (tr C/M) LᵀL: the centres stand for all points. Every block of K_nM is used
    for both products of a step, all replicates and outputs are solved together, and those that
    have converged drop out.

    Parameters
    ----------
    centers, memory
        See Nystrom.
    mesh
        See Nystrom.
    max_newton : int
    tol : float
        Relative residual ‖∇J(h)‖_H ≤ tol·ridge·‖h‖_H of the inner and the adjoint solution: a bound
        on their relative errors in H.
    max_cg : int
        Conjugate gradient steps a solve.

    References
    ----------
    Rudi, Carratino, Rosasco (2017), FALKON: An Optimal Large Scale Kernel Method, eqs. (8), (13).
    Meanti, Carratino, Rosasco, Rudi (2020), Kernel methods through the roof, §3.
    """

    centers: Any = None
    memory: float = STORED
    mesh: Any = eqx.field(static=True, default=None)
    max_newton: int = 100
    tol: float = 1e-7
    max_cg: int = 500

    def system(self, problem, omega, shared, workspace):
        """See NewtonSolver."""
        return FalkonSystem(problem, omega, shared, workspace, self)


class FalkonSystem(SubspaceSystem):
    """Preconditioned conjugate gradients, every replicate at once."""

    def __init__(self, problem, omega, shared, workspace, options):
        super().__init__(problem, omega, shared, workspace, options.memory)
        self._limits = options.tol, options.max_cg, PATIENCE
        self._curvatures = self._preconditioner = None

    @property
    def missing(self):
        """See System."""
        return list(range(len(self.alpha))) if self._curvatures is None else []

    @property
    def direct(self):
        """See System: what rounding left is seen by the true residual only."""
        return False

    def forget(self):
        """See System."""
        self._curvatures = None

    def factorise(self, replicates, curvatures, probabilities=None):
        """See System; replicates not asked for keep nothing, they have converged."""
        if self._curvatures is not None and np.array_equal(self._curvatures, curvatures):
            return
        self._curvatures = curvatures
        p = curvatures.shape[-1]
        mass = np.trace(curvatures, axis1=2, axis2=3).sum(1)[replicates].mean() / p
        alpha = self.alpha[replicates].mean()

        def build():
            matrix = self.root.root_square()
            matrix *= mass / self.size
            matrix.flat[:: self.size + 1] += alpha
            return matrix

        self._preconditioner = Cholesky(build)
        self.jitter = max(self.jitter, self._preconditioner.jitter)

    def solve(self, rhs, replicates=None):
        """See System."""
        chosen = np.arange(len(rhs)) if replicates is None else np.asarray(replicates)
        return self._conjugate(rhs, self._curvatures, chosen, *self._limits)[0]

    def _precondition(self, residuals, replicates):
        return self._each(self._preconditioner.solve, residuals)

    def _solve_adjoint(self, rhs, curvatures):
        return self._conjugate(rhs, curvatures, range(len(rhs)), *self._limits)
