"""The exact solver: damped Newton in function space, one weighted ridge system per step."""

from __future__ import annotations

import contextlib

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..linalg import SingularSystem
from ..losses import Loss
from ..result import Status
from .base import InnerSolution, Solver
from .systems import Workspace, build_system, host

ARMIJO = 1e-4
SMALLEST_STEP = 2.0**-40
ROUNDING = 1e-8
ACCEPTABLE = 1e-3  # relative residual, a bound on the relative error of h: worse is an error


@eqx.filter_jit
def _pointwise(problem, omega, values):
    instance = problem.at(omega)
    losses = instance.inner_losses(values)
    return losses, instance.inner_slopes(values), instance.inner_curvatures(values)


def share_points(problem, omega) -> bool:
    """Whether both samples are at the same points, so that one kernel matrix serves both."""
    inner, outer = problem.inner_data, problem.outer_data
    if callable(inner) or callable(outer):
        at = [data(omega) if callable(data) else data for data in (inner, outer)]
        return at[0].x is at[1].x
    if inner.x is outer.x:
        return True
    return inner.x.shape == outer.x.shape and np.array_equal(inner.x, outer.x)


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
            state, coefficients = Workspace(), state
            state.coefficients = coefficients
        return ExactSolution(self, problem, omega, state)

    def warm_start(self, state):
        """See Solver."""
        return None if state is None else state.coefficients


class ExactSolution(InnerSolution):
    """See InnerSolution; built by Newton's method in the constructor."""

    def __init__(self, options, problem, omega, state):
        self._options, self._problem, self._omega = options, problem, omega
        self.shared = share_points(problem, omega)
        self.state = state or Workspace()
        self._system = build_system(problem, omega, self.shared, self.state)
        self._dtype = self._data_dtype()
        self._factors, self._factor_curvatures = None, None
        loss = problem.inner_loss
        self._constant = isinstance(loss, Loss) and loss.constant_curvature
        self.jitter = 0.0
        self._solve_from(self._start())
        self.h_outer = self._system.outer_values(self.coefficients, self.h_inner)
        self.state.coefficients = self.coefficients

    def _data_dtype(self):
        data = self._problem.inner_data
        return (data(self._omega) if callable(data) else data).x.dtype

    def _start(self):
        system, known = self._system, self.state.coefficients
        p = self._problem.n_outputs or 1
        shape = (len(system.alpha), system.size, p)
        # With constant curvature the first step is exact from anywhere; zero is bit-stable.
        usable = known is not None and known.shape == shape and not self._constant
        return known if usable else np.zeros(shape)

    def _solve_from(self, start):
        """Newton from a warm start, or from zero: which may change the cost, never the answer."""
        if start.any():
            with contextlib.suppress(SingularSystem), np.errstate(over="ignore"):
                self._newton(start)
                if self.status.ok:
                    return
        self._newton(np.zeros_like(start))

    def _evaluate(self, coefficients, values):
        """Objective Σ wℓ + (α/2)‖h‖², slopes and weighted curvatures at given values."""
        system = self._system
        losses, slopes, curvatures = _pointwise(
            self._problem, self._omega, jnp.asarray(values, self._dtype)
        )
        w = system.weights
        weighted = np.where(w > 0, w * np.where(w > 0, host(losses), 0.0), 0.0)
        norms = system.pairing(coefficients, coefficients, values)
        objective = weighted.sum(1) + 0.5 * system.alpha * norms
        slopes = np.where(w[:, :, None] > 0, host(slopes), 0.0)
        curvatures = w[:, :, None, None] * np.where(w[:, :, None, None] > 0, host(curvatures), 0.0)
        return objective, slopes, curvatures, norms

    def _newton(self, theta):
        system, w = self._system, self._system.weights
        F = len(system.alpha)
        self._factors, self._factor_curvatures = [None] * F, [None] * F
        values = system.values(theta) if theta.any() else np.zeros((F, w.shape[1], theta.shape[2]))
        objective, slopes, curvatures, norms = self._evaluate(theta, values)
        previous = np.full(F, np.inf)
        for step in range(self._options.max_newton + 1):
            gradient = system.gradient(slopes, theta)
            residuals = system.norm_bound(gradient)
            scale = system.ridge * np.sqrt(np.maximum(norms, 0.0))
            # Close to the solution, where Newton should be quadratic, only rounding stalls it.
            close = self._constant | (residuals <= ACCEPTABLE * scale)
            stalled = (residuals >= 0.25 * previous) & close
            # A quadratic's one step is as good as its factor: repeating it only moves rounding.
            direct = ROUNDING if self._constant and step else self._options.tol
            active = (residuals > direct * scale) & ~stalled
            if step == self._options.max_newton or not active.any():
                break
            previous = residuals
            target = theta.copy()
            for f in np.flatnonzero(active):
                self._factorise(f, curvatures[f])
                curved = np.einsum("iab,ib->ia", curvatures[f], values[f])
                target[f] = self._factors[f].minimise(w[f][:, None] * slopes[f] - curved)
            accepted = self._line_search(theta, values, objective, gradient, target, active)
            if accepted is None:
                break
            theta, values, (objective, slopes, curvatures, norms) = accepted
        self.coefficients, self.h_inner, self._curvatures = theta, values, curvatures
        self.residual = float(residuals.max())
        self.status = self._judge(residuals, scale, gradient)

    def _factorise(self, f, curvatures):
        known = self._factor_curvatures[f]
        if known is None or not np.array_equal(known, curvatures):
            if self._factors[f] is not None:
                self._factors[f].release()
            self._factors[f] = self._system.factorise(f, curvatures)
            self._factor_curvatures[f] = curvatures
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
            evaluated = self._evaluate(candidate, at)
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
        for f in range(len(self._factors)):
            if self._factors[f] is None:
                self._factorise(f, self._curvatures[f])
        return self._system.adjoint(self._factors, slopes, self._curvatures)
