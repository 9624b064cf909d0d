"""The Falkon solver: preconditioned conjugate gradients on the Nyström system."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from ..linalg import Cholesky
from ._newton.rows import STORED
from ._newton.subspace_system import SubspaceSolver, SubspaceSystem
from ._newton.systems import PATIENCE

SINGLE_TOL = 1e-4  # float32 blocks are good for about so much before a residual in float64
SAFE_CHANGE = 0.1


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
    mixed : bool
        Whether blocks that are not stored may be evaluated, multiplied and, if they then fit,
        stored in float32. This is done only where, judged by the smallest eigenvalue of K_MM and
        the ridge, rounding in float32 hardly changes the system; residuals in float64 still refine
        the solution to ``tol``. Arrays of size M are always in float64.
    max_newton : int
    tol : float
        Relative error of the inner and the adjoint solution in the energy norm of the system, as
        conjugate gradients estimate it. The error in H may be larger where the ridge is small.
    max_cg : int
        Conjugate gradient steps a solve.
    loose : float
        In ``minimize`` the tolerance is loose·‖∇L(ω)‖/‖∇L(ω₀)‖ of the last step, no less than tol
        (to which LBFGS returns before it ends): errors of h and a enter the value in second
        order only, and the gradient need not be better than the step it is for. ``loose=0`` asks
        for tol everywhere.

    References
    ----------
    Rudi, Carratino, Rosasco (2017), FALKON: An Optimal Large Scale Kernel Method, eqs. (8), (13).
    Meanti, Carratino, Rosasco, Rudi (2020), Kernel methods through the roof, §3.
    """

    centers: Any = None
    memory: float = STORED
    mesh: Any = eqx.field(static=True, default=None)
    mixed: bool = True
    max_newton: int = 100
    tol: float = 1e-7
    max_cg: int = 500
    loose: float = 1e-3

    remedy = "raise max_cg or max_newton of solver=kbo.solvers.Falkon(…)"

    def loosened(self, ratio):
        """To a looser tolerance while the gradient is still large."""
        return eqx.tree_at(lambda s: s.tol, self, max(self.tol, self.loose * min(ratio, 1.0)))

    def system(self, instance, workspace):
        """The ridge systems of this solver."""
        return FalkonSystem(instance, workspace, self)


class FalkonSystem(SubspaceSystem):
    """Preconditioned conjugate gradients, every replicate at once, from the last solution."""

    from_coefficients: ClassVar[bool] = True
    jointly: ClassVar[bool] = True

    def __init__(self, instance, workspace, options):
        super().__init__(instance, workspace, options.memory)
        self._limits = options.tol, options.max_cg, PATIENCE
        self._workspace = workspace
        self._single = None
        if options.mixed and self.rows.stored is None:
            self._single = self.rows.in_float32(workspace.gram)
            workspace.gram = self._single.stored

    @property
    def direct(self):
        """Never: what rounding leaves is seen only in the true residual."""
        return False

    def _prepare(self, replicates, curvatures, probabilities):
        # The replicates that are not listed have converged.
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

    def solve(self, rhs, replicates=None, target=None):
        """Solve the ridge systems of the replicates asked for."""
        chosen = np.arange(len(rhs)) if replicates is None else np.asarray(replicates)
        return self._iterate(rhs, self._curvatures, chosen, target)[0]

    def _precondition(self, residuals, replicates):
        return self._each(self._preconditioner.solve, residuals)

    def _solve_adjoint(self, rhs, curvatures):
        start, target = self._workspace.adjoint_start, None
        if start is not None and start.shape == rhs.shape:
            energy = np.maximum(np.sum(start * rhs, (1, 2)), 0.0)
            target = self._limits[0] * np.sqrt(energy)
            rest = rhs - self.apply(start, curvatures)
        else:
            start, rest = np.zeros_like(rhs), rhs
        u, rest = self._iterate(rest, curvatures, np.arange(len(rhs)), target)
        self._workspace.adjoint_start = start + u
        return start + u, rest

    def _iterate(self, rhs, curvatures, chosen, target):
        """``_conjugate``, with float32 blocks as long as residuals in float64 say that they do."""
        tol, *limits = self._limits
        out, rest = np.zeros_like(rhs), rhs
        if self._single is not None and self._is_safe(curvatures[chosen], chosen):
            wanted = np.zeros(len(rhs)) if target is None else target
            errors = np.full(len(chosen), np.inf)
            while True:
                step, _ = self._conjugate(
                    rest, curvatures, chosen, SINGLE_TOL, *limits, wanted, self._single
                )
                refined = rhs.copy()
                refined[chosen] -= self.apply((out + step)[chosen], curvatures, chosen)
                previous, errors = errors, self._decrement(refined[chosen], chosen)
                if not (errors <= 0.25 * previous).all():
                    break  # float32 has given what it can
                out, rest = out + step, refined
                energy = np.sqrt(np.maximum(np.sum(out * rhs, (1, 2)), 0.0))[chosen]
                if (errors <= np.maximum(tol * energy, wanted[chosen])).all():
                    return out, rest
            target = np.maximum(wanted, tol * np.sqrt(np.maximum(np.sum(out * rhs, (1, 2)), 0.0)))
        step, rest = self._conjugate(rest, curvatures, chosen, tol, *limits, target)
        return out + step, rest

    def _is_safe(self, curvatures, chosen) -> bool:
        """Whether relative errors of eps₃₂ in K_nM change the system by little.

        In the energy norm they change it by about eps₃₂ max k(x, x) (tr C / (α λ_min(K_MM)))^½.
        """
        mass = np.trace(curvatures, axis1=2, axis2=3).sum(1) / curvatures.shape[-1]
        smallest = self.root.smallest_eigenvalue(np.abs(self.center_gram).sum(0).max())
        entries = np.finfo(np.float32).eps * self.center_gram.diagonal().max()
        change = entries * np.sqrt((mass / self.alpha[chosen]).max() / smallest)
        return bool(change <= SAFE_CHANGE)
