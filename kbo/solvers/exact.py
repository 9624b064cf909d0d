"""The exact solver: damped Newton in function space, one weighted ridge system per step."""

from __future__ import annotations

import contextlib

import equinox as eqx
import numpy as np

from ..linalg import SingularSystem
from ..losses import Loss
from ..result import Status
from ..spaces import RKHS, FeatureSpace
from .base import InnerSolution, Solver
from .feature_system import FeatureSystem
from .kernel_system import KernelSystem, Workspace
from .systems import host

ARMIJO = 1e-4
SMALLEST_STEP = 2.0**-40
ACCEPTABLE = 1e-3  # relative residual, a bound on the relative error of h: worse is an error


@eqx.filter_jit
def _pointwise(problem, omega, values):
    instance = problem.at(omega)
    losses = instance.inner_losses(values)
    return losses, instance.inner_slopes(values), instance.inner_curvatures(values)


@eqx.filter_jit
def _probabilities(problem, omega, values):
    return problem.at(omega).inner_probabilities(values)


def share_points(problem, omega) -> bool:
    """Whether both samples are at the same points, so that one kernel matrix serves both."""
    inner, outer = problem.inner_data, problem.outer_data
    if callable(inner) or callable(outer):
        at = [data(omega) if callable(data) else data for data in (inner, outer)]
        return at[0].x is at[1].x
    if inner.x is outer.x:
        return True
    return inner.x.shape == outer.x.shape and np.array_equal(inner.x, outer.x)


def _build_system(problem, omega, shared, workspace):
    """The system of the problem's space at ω.

    Raises
    ------
    ValueError
        If the exact solver does not know the space.
    """
    space = problem.space(omega) if callable(problem.space) else problem.space
    if isinstance(space, RKHS):
        return KernelSystem(problem, omega, shared, workspace)
    if isinstance(space, FeatureSpace):
        return FeatureSystem(problem, omega, shared)
    raise ValueError(f"space={type(space).__name__} has no exact solver: use RKHS or FeatureSpace")


class Exact(Solver):
    """h_ω by the representer theorem (RKHS) or the normal equations (FeatureSpace).

    Newton's iterate from h solves one weighted ridge system in function space,

        h⁺ = argmin ½Σ w_i D_i (h⁺(x_i) − z_i)² + (α/2)‖h⁺‖²,   z = h − D⁻¹ℓ′,  α = ridge·Σw,

    whose symmetric form αI + (wD)^½ K (wD)^½ is factorised by LAPACK in float64 whatever the
    dtype of the data. A squared loss needs one factorisation per ω and replicate; it serves the
    inner solution, the adjoint and every output. O(n³) time, O(F n²) memory.

    Parameters
    ----------
    max_newton : int
        Newton steps allowed.
    tol : float
        Relative residual ‖∇J(h)‖_H ≤ tol·ridge·‖h‖_H at which Newton stops; it also stops, as
        converged, where rounding keeps the residual from falling, if it is then below 1e-3.
    """

    max_newton: int = 100
    tol: float = 1e-11

    def solve(self, problem, omega, state=None) -> ExactSolution:
        """h_ω; ``state`` (a previous solution's) starts Newton's iterations.

        Raises
        ------
        kbo.linalg.SingularSystem
            If a system is not positive definite even with jitter.
        """
        if isinstance(state, np.ndarray):
            state, values = Workspace(), state
            state.values = values
        return ExactSolution(self, problem, omega, state)

    def warm_start(self, state):
        """See Solver."""
        return None if state is None else state.values


class ExactSolution(InnerSolution):
    """See InnerSolution; built by Newton's method in the constructor."""

    def __init__(self, options, problem, omega, state):
        self._options, self._problem, self._omega = options, problem, omega
        self.shared = share_points(problem, omega)
        self.state = state or Workspace()
        self._system = _build_system(problem, omega, self.shared, self.state)
        self._dtype = self._data_dtype()
        loss = problem.inner_loss
        self._constant = isinstance(loss, Loss) and loss.constant_curvature
        self.jitter = 0.0
        self._solve_from(self.state.values)
        self.h_outer = self._system.outer_values(self.coefficients, self.h_inner)
        self.state.values = self.h_inner
        self.gram = self._system.gram

    def _data_dtype(self):
        data = self._problem.inner_data
        return (data(self._omega) if callable(data) else data).x.dtype

    def _solve_from(self, known):
        """Newton from values known to be near, or from zero: a matter of cost, not of the answer.

        Values, unlike coefficients, hardly move with ω, and Newton's step needs nothing else. With
        constant curvature one step is exact from anywhere, and from zero it is bit-stable.
        """
        F, n = self._system.weights.shape
        shape = (F, n, self._problem.n_outputs or 1)
        if known is not None and known.shape == shape and not self._constant:
            with contextlib.suppress(SingularSystem), np.errstate(over="ignore", invalid="ignore"):
                self._factors, self._factor_curvatures = [None] * F, [None] * F
                self._newton(self._from_values(known))
                if self.status.ok:
                    return
        self._factors, self._factor_curvatures = [None] * F, [None] * F
        self._newton(np.zeros((F, self._system.size, shape[2])))

    def _evaluate(self, values):
        """Σ wℓ (F,), slopes and weighted curvatures at given values."""
        losses, slopes, curvatures = _pointwise(
            self._problem, self._omega, np.asarray(values, self._dtype)
        )
        w = self._system.weights
        weighted = np.where(w > 0, w * np.where(w > 0, host(losses), 0.0), 0.0)
        slopes = np.where(w[:, :, None] > 0, host(slopes), 0.0)
        curvatures = w[:, :, None, None] * np.where(w[:, :, None, None] > 0, host(curvatures), 0.0)
        return weighted.sum(1), slopes, curvatures

    def _objective(self, coefficients, values):
        """Σ wℓ + (α/2)‖h‖², slopes, weighted curvatures, ‖h‖²."""
        losses, slopes, curvatures = self._evaluate(values)
        norms = self._system.pairing(coefficients, coefficients, values)
        return losses + 0.5 * self._system.alpha * norms, slopes, curvatures, norms

    def _from_values(self, values):
        """Newton's full step from values alone: coefficients (F, N, p)."""
        w = self._system.weights
        _, slopes, curvatures = self._evaluate(values)
        self._factorise(range(len(w)), values, curvatures)
        curved = np.einsum("fiab,fib->fia", curvatures, values)
        functionals = w[:, :, None] * slopes - curved
        return np.stack([f.minimise(r) for f, r in zip(self._factors, functionals, strict=True)])

    def _newton(self, theta):
        system, w = self._system, self._system.weights
        F = len(system.alpha)
        values = system.values(theta) if theta.any() else np.zeros((*w.shape, theta.shape[2]))
        objective, slopes, curvatures, norms = self._objective(theta, values)
        previous = np.full(F, np.inf)
        for step in range(self._options.max_newton + 1):
            gradient = system.gradient(slopes, theta)
            residuals = system.norm_bound(gradient)
            scale = system.ridge * np.sqrt(np.maximum(norms, 0.0))
            # Close to the solution, where Newton should be quadratic, only rounding stalls it.
            close = self._constant | (residuals <= ACCEPTABLE * scale)
            stalled = (residuals >= 0.25 * previous) & close
            # A quadratic's one step is exact, unless jitter made it that of another system.
            done = self._constant and step and not self.jitter
            active = (residuals > self._options.tol * scale) & ~stalled
            if done or step == self._options.max_newton or not active.any():
                break
            previous = residuals
            self._factorise(np.flatnonzero(active), values, curvatures)
            target = theta.copy()
            for f in np.flatnonzero(active):  # a correction: it refines what rounding left
                target[f] -= self._factors[f].solve(system.total[f] * gradient[f])
            accepted = self._line_search(theta, values, objective, gradient, target, active)
            if accepted is None:
                break
            theta, values, (objective, slopes, curvatures, norms) = accepted
        self.coefficients, self.h_inner, self._curvatures = theta, values, curvatures
        self.residual = float(residuals.max())
        self.status = self._judge(residuals, scale, gradient)

    def _factorise(self, replicates, values, curvatures):
        """Factors of some replicates for these curvatures, kept where they have not changed."""
        simplex = _probabilities(self._problem, self._omega, np.asarray(values, self._dtype))
        for f in replicates:
            known = self._factor_curvatures[f]
            if known is not None and np.array_equal(known, curvatures[f]):
                continue
            if self._factors[f] is not None:
                self._factors[f].release()
            self._factors[f] = self._system.factorise(
                f, curvatures[f], None if simplex is None else host(simplex[f])
            )
            self._factor_curvatures[f] = curvatures[f]
            self.jitter = max(self.jitter, self._factors[f].jitter)

    def _line_search(self, theta, values, objective, gradient, target, active):
        """The longest step 1, ½, ¼ … of each replicate that decreases its objective enough."""
        system = self._system
        direction = target - theta
        changes = system.values(target) - values
        slope = system.total * system.pairing(gradient, direction, changes)
        slack = 100 * np.finfo(self._dtype).eps * np.abs(objective)
        steps = np.where(active, 1.0, 0.0)
        while True:
            scaled = steps[:, None, None]
            # At a full step the target itself, not theta + (target − theta): no cancellation.
            candidate = np.where(scaled == 1.0, target, theta + scaled * direction)
            at = values + scaled * changes
            evaluated = self._objective(candidate, at)
            good = evaluated[0] <= objective + ARMIJO * steps * slope + slack
            if (good | ~active).all():
                return candidate, at, evaluated
            steps = np.where(good, steps, 0.5 * steps)
            if (steps[active] < SMALLEST_STEP).any():
                return None

    def _judge(self, residuals, scale, gradient):
        finite = np.isfinite(self.coefficients).all() and np.isfinite(residuals).all()
        if not finite:
            return Status.NON_FINITE
        blocks = self._curvatures
        eigenvalues = blocks if blocks.shape[-1] == 1 else np.linalg.eigvalsh(blocks)
        smallest = 0.0 if self._constant else eigenvalues.min(initial=0.0)
        if smallest < -1e-8 * np.abs(self._curvatures).max(initial=0.0):
            return Status.NOT_CONVEX
        allowed = max(self._options.tol, ACCEPTABLE) * scale
        if (residuals > allowed).any():  # the bound is loose by up to the root of K's rank
            residuals = self._system.norm(gradient)
            self.residual = float(residuals.max())
        solved = (residuals <= allowed).all()
        return Status.CONVERGED if solved else Status.INNER_NOT_CONVERGED

    def adjoint(self, slopes):
        missing = [f for f, factor in enumerate(self._factors) if factor is None]
        self._factorise(missing, self.h_inner, self._curvatures)
        return self._system.adjoint(self._factors, slopes, self._curvatures)
