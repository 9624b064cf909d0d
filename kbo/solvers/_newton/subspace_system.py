"""Ridge systems in the span of M centres: h = Σ_j θ_j k(z_j, ·), u = Lᵀθ, LLᵀ = K_MM + δI.

In u the norm is Euclidean and the system of a replicate is αI + L⁻¹(K_nMᵀ C K_nM)L⁻ᵀ.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import equinox as eqx
import numpy as np
from jax.sharding import Mesh

from ...instance import of_instance
from ...linalg import Cholesky, conjugate_gradients
from ...needs import Needs
from ...spaces import RKHS, Restriction, Subspace
from ...spaces.base import replicates_first, replicates_last
from ..base import AdjointSolution
from ..centers import fixed_centers
from .mesh_rows import MeshRows, default_mesh
from .newton import NewtonSolver
from .rows import Rows
from .systems import System, host


@of_instance
def _center_gram(instance):
    return instance.space.gram()


class SubspaceSolver(NewtonSolver):
    """A solver in the span of centres; subclasses have the fields ``centers`` and ``mesh``."""

    double: ClassVar[bool] = True

    @property
    def needs(self):
        """A space with a kernel; points may be a kbo.Stream if there is no mesh of devices."""
        remedy = "use solver=kbo.solvers.Exact()"
        if self.mesh is not None:
            remedy = "without a mesh it reads a kbo.Stream"
        return Needs(spaces=(RKHS, Subspace), memory=self.mesh is not None, remedy=remedy)

    def fixed(self, instance):
        """This solver with its centres chosen at the ω of the instance."""
        chosen = fixed_centers(instance, self.centers)
        return eqx.tree_at(lambda s: s.centers, self, chosen, is_leaf=lambda leaf: leaf is None)

    def restrict(self, problem):
        """The problem over the span of the centres; unchanged if its space has its own."""
        if self.centers is None:
            return problem
        mesh = self.mesh
        # Without explicit axes, so that arrays of any layout can be moved to its devices.
        mesh = default_mesh() if mesh is None else Mesh(mesh.devices, mesh.axis_names)
        return problem.replace(space=Restriction(problem.space, self.centers, mesh))

    def __str__(self):
        count = f"{len(self.centers)} centres" if hasattr(self.centers, "shape") else "its centres"
        return f"{type(self).__name__}, {count}"


class SubspaceSystem(System):
    """The system in the coordinates u (F, M, p); subclasses factorise and solve."""

    def __init__(self, instance, workspace, memory):
        super().__init__(instance)
        self._shared = instance.shared
        self.size = len(instance.space.centers)
        self.center_gram = host(_center_gram(instance))
        self.root = Cholesky(self.center_gram.copy, jitters=(0.0,))
        n, m = instance.inner.size, instance.outer.size
        if instance.space.mesh is None:
            self.rows = Rows(instance, True, (n, self.size), memory, workspace.gram)
            self.gram = self.rows.stored
            if self.gram is not None:
                workspace.gram = self.gram
            self._outer = None if self._shared else Rows(instance, False, (m, self.size), 0)
        else:
            self.rows = MeshRows(instance, True, (n, self.size))
            self._outer = None if self._shared else MeshRows(instance, False, (m, self.size))

    def _each(self, function, coefficients):
        """A ``function`` of arrays (·, q), applied to coefficients (F, ·, p)."""
        columns = function(np.asfortranarray(replicates_last(coefficients)))
        return replicates_first(columns, len(coefficients))

    def representation(self, coefficients):
        return self._each(lambda u: self.root.root_solve(u, transposed=True), coefficients)

    def _whiten(self, functionals):
        """L⁻¹ r, the functional with values r_j = ⟨r, k(z_j, ·)⟩ in the coordinates of u."""
        return self._each(self.root.root_solve, functionals)

    def values(self, coefficients):
        return self._each(self.rows.times, self.representation(coefficients))

    def outer_values(self, coefficients, inner_values):
        if self._shared:
            return inner_values
        return self._each(self._outer.times, self.representation(coefficients))

    def accuracy(self, gradient, norms, values, curvatures, tight=False):
        """The Newton decrement, which estimates the energy norm of h's error, and that of h."""
        r = self.total[:, None, None] * gradient
        missing = self.missing
        if missing:
            decrement = np.where(r.any((1, 2)), np.inf, 0.0)
        else:
            decrement = self._decrement(r, np.arange(len(r)))
        energy = np.einsum("fia,fiab,fib->f", values, curvatures, values, optimize=True)
        return decrement, np.sqrt(np.maximum(energy + self.alpha * norms, 0.0))

    def rounding(self, objective):
        """Errors in the energy norm at which the objective is minimal to eps², relatively."""
        return np.finfo(float).eps * np.sqrt(2 * np.abs(objective))

    def _decrement(self, residuals, replicates):
        """Estimates (k,), by the preconditioner, of the energy norms of the errors."""
        z = self._precondition(residuals, replicates)
        return np.sqrt(np.maximum(np.sum(residuals * z, (1, 2)), 0.0))

    def embed(self, slopes):
        return self._whiten(self._each(self.rows.transposed_times, slopes))

    def apply(self, coefficients, curvatures, replicates=slice(None), rows=None):
        """(α + C)u, with ``rows`` in place of the system's own if given."""
        theta = self.representation(coefficients)
        image, _ = (rows or self.rows).normal_times(theta, curvatures[replicates])
        return self._whiten(image) + self.alpha[replicates, None, None] * coefficients

    @abc.abstractmethod
    def _precondition(self, residuals, replicates) -> np.ndarray:
        """≈ (α + C)⁻¹ residuals, for residuals (k, M, p) of the k ``replicates``."""

    def _conjugate(
        self, rhs, curvatures, replicates, tol, max_iter, patience, target=None, rows=None
    ):
        """(α + C)⁻¹ rhs of some replicates by conjugate gradients, and the residual.

        ``rows`` may replace the system's own; see kbo.linalg.conjugate_gradients for the rest.
        """
        out, rest = np.zeros_like(rhs), np.zeros_like(rhs)
        chosen = np.asarray(replicates)
        out[chosen], rest[chosen], self.iterations, self.cut_short = conjugate_gradients(
            lambda u, k: self.apply(u, curvatures, chosen[k], rows),
            lambda r, k: self._precondition(r, chosen[k]),
            rhs[chosen], tol, max_iter, patience, None if target is None else target[chosen],
        )
        return out, rest

    @abc.abstractmethod
    def _solve_adjoint(self, rhs, curvatures):
        """(α + C)⁻¹ rhs of all replicates, and the residual."""

    def adjoint(self, slopes, curvatures, tol):
        scaled = slopes * self.total[:, None, None]
        pull = self.rows if self._shared else self._outer
        rhs = -self._whiten(self._each(pull.transposed_times, scaled))
        u, rest = self._solve_adjoint(rhs, curvatures)
        theta = self.representation(u)
        values = self._each(self.rows.times, theta)
        residual = float((self.norm_bound(rest) / self.total).max())
        status = self.adjoint_status(rest, rhs, tol)
        return AdjointSolution(theta, theta, False, residual, status, values)
