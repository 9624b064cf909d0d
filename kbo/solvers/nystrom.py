"""The Nyström solver: the whole M×M system, assembled in blocks of rows and factorised."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import numpy as np

from ..linalg import Cholesky
from ._newton.rows import STORED
from ._newton.subspace_system import SubspaceSolver, SubspaceSystem
from ._newton.systems import PATIENCE
from ._newton.weighted_ridge import decouple, solve_columns
from ._traced import feature_equations

MAX_CG = 500
SAFE = 0.1  # relative size of rounding errors that refinement still removes


class Nystrom(SubspaceSolver):
    """h_ω in the span of k(z_j, ·), j = 1…M, by its assembled and factorised normal equations::

        (K_nMᵀ C K_nM + α(K_MM + δI)) θ = r,   C = w ∂²ℓ,  α = ridge·Σw,  δ = 10 eps tr K_MM

    in float64 whatever the dtype of the data, refined by residuals in the coordinates u = Lᵀθ,
    LLᵀ = K_MM + δI, in which the system is as well conditioned as the problem. Where K_MM is so
    nearly singular that rounding would spoil the assembled matrix, the rows of K_nM are brought
    to these coordinates first, at twice the cost. Outputs that the loss couples (softmax) are
    solved by conjugate gradients, preconditioned with one factor a class. O(nM² + M³) time; O(M²)
    memory and K_nM's where that is within ``memory``, else a block of it.

    Parameters
    ----------
    centers : int, kbo.solvers.centers strategy, array (M, d) or callable of ω
        The number to draw uniformly, a rule for drawing, the centres themselves, or a function that
        gives centres to be learned. Centres are drawn only once, at the first ω. None: the
        problem's space is a kbo.spaces.Subspace already.
    memory : float
        Bytes that K_nM may take; where it needs more its blocks are evaluated again for each use.
    mesh : jax.sharding.Mesh, optional
        Devices, of one process or many, over which rows are spread; each evaluates its own blocks
        anew for every product. None: the host's BLAS, or the default device if that is no CPU.
    max_newton : int
    tol : float
        See Exact.

    References
    ----------
    Rudi, Camoriano, Rosasco (2015), Less is More: Nyström Computational Regularization, eq. (5).

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> jax.config.update("jax_enable_x64", True)
    >>> x = jnp.linspace(0.0, 6.0, 30)
    >>> y = jnp.sin(x)
    >>> problem = kbo.BilevelProblem(
    ...     kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x[::2], y[::2]),
    ...     kbo.Sample(x[1::2], y[1::2]), kbo.RKHS(kbo.kernels.Gaussian()), ridge=jnp.exp)
    >>> solver = kbo.solvers.Nystrom(8)
    >>> found = kbo.value_and_hypergradient(problem, jnp.array(-5.0), solver=solver)
    >>> found.status.name
    'CONVERGED'
    """

    centers: Any = None
    memory: float = STORED
    mesh: Any = eqx.field(static=True, default=None)
    max_newton: int = 100
    tol: float = 1e-9

    traceable = True
    remedy = "raise max_newton of solver=kbo.solvers.Nystrom(…, max_newton=…), or take more centres"

    def system(self, instance, workspace):
        """The ridge systems of this solver."""
        return NystromSystem(instance, workspace, self.memory, self.tol)

    def equations(self, instance):
        """Those of the coefficients of the centres."""
        return feature_equations(instance)


class NystromSystem(SubspaceSystem):
    """Factors of every replicate's normal equations, from one pass over the rows."""

    def __init__(self, instance, workspace, memory, tol):
        super().__init__(instance, workspace, memory)
        self._tol = tol
        self._factors, self._coupled = {}, np.zeros(len(self.alpha), bool)

    @property
    def direct(self):
        """A factor alone leaves rounding errors that a refinement removes."""
        return False

    def _prepare(self, replicates, curvatures, probabilities):
        columns = {}
        for f in replicates:
            C = decouple(curvatures[f])
            self._coupled[f] = C.ndim == 3
            if C.ndim == 3:
                C = np.diagonal(C, axis1=1, axis2=2)
            columns[f] = C.reshape(len(C), -1)
        weights = np.concatenate(list(columns.values()), axis=1)
        whitened = self._rounding(weights) > SAFE
        grams = iter(self.rows.grams(weights, self.root if whitened else None))
        for f, C in columns.items():
            penalty = np.eye(self.size) if whitened else self.center_gram
            factors = [
                Cholesky(partial(np.add, self.alpha[f] * penalty, next(grams))) for _ in C.T
            ]
            self._factors[f] = whitened, factors
            self.jitter = max(self.jitter, *(factor.jitter for factor in factors))

    def _rounding(self, weights):
        """How large rounding errors of KᵀCK may become in the coordinates of u, relative to α."""
        diagonal = self.center_gram.diagonal()
        product = weights.sum(0).max() * diagonal.sum() * diagonal.max()
        smallest = self.root.smallest_eigenvalue(np.abs(self.center_gram).sum(0).max())
        return np.finfo(float).eps * product / (self.alpha.min() * smallest)

    def _precondition(self, residuals, replicates):
        out = np.empty_like(residuals)
        for k, f in enumerate(replicates):
            whitened, factors = self._factors[f]
            if whitened:
                out[k] = solve_columns(factors, residuals[k])
                continue
            theta = solve_columns(factors, self.root.root_times(residuals[k]))
            out[k] = self.root.root_times(theta, transposed=True)
        return out

    def solve(self, rhs, replicates=None, target=None):
        """Solve the ridge systems of the replicates asked for."""
        chosen = np.arange(len(rhs)) if replicates is None else np.asarray(replicates)
        plain = np.array([f for f in chosen if not self._coupled[f]], int)
        coupled = np.array([f for f in chosen if self._coupled[f]], int)
        out = np.zeros_like(rhs)
        out[plain] = self._precondition(rhs[plain], plain)
        if len(coupled):
            limits = self._tol, MAX_CG, PATIENCE
            out += self._conjugate(rhs, self._curvatures, coupled, *limits, target)[0]
        return out

    def _solve_adjoint(self, rhs, curvatures):
        patience = PATIENCE if any(self._coupled) else 2
        return self._conjugate(rhs, curvatures, range(len(rhs)), self._tol, MAX_CG, patience)
