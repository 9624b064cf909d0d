"""Damped Newton in function space: one weighted ridge system per step."""

from __future__ import annotations

import abc
import contextlib
import dataclasses

import numpy as np

from ...instance import of_instance
from ...linalg import SingularSystem
from ...result import Status
from ..base import InnerSolution, Solver
from .systems import ACCEPTABLE, System, accepted, host
from .weighted_ridge import convex_part
from .workspace import Workspace

ARMIJO = 1e-4
FLAT = 1e-3  # slope, relative to that at the start of a line, which counts as zero
SMALLEST_STEP = 2.0**-40
FORCING = 0.1


@of_instance
def _pointwise(instance, values):
    losses = instance.inner_losses(values)
    return losses, instance.inner_slopes(values), instance.inner_curvatures(values)


@of_instance
def _probabilities(instance, values):
    return instance.inner_probabilities(values)


class NewtonSolver(Solver):
    """Newton's method with ridge systems; subclasses have the fields ``max_newton`` and ``tol``."""

    @abc.abstractmethod
    def system(self, instance, workspace) -> System:
        """The ridge systems of ``instance``, whose memory is that of ``workspace``."""

    def solve(self, instance, state=None) -> NewtonSolution:
        """h_ω, from the ``state`` of a previous solution if given.

        Raises
        ------
        kbo.linalg.SingularSystem
            If a system is not positive definite even with jitter.
        """
        workspace = state if isinstance(state, Workspace) else Workspace(*(state or ()))
        system = self.system(instance, workspace)
        return NewtonSolution(
            instance, system, workspace, self.max_newton, self.tol
        )

    def within(self, tol):
        """This solver with relative tolerance ``tol``."""
        return dataclasses.replace(self, tol=tol)

    def warm_start(self, state):
        """The arrays in ``state`` from which a later solve can start."""
        return state.starts() if isinstance(state, Workspace) else state


class NewtonSolution(InnerSolution):
    """h_ω, computed by Newton's method in the constructor.

    Each Newton step from h solves one weighted ridge system in function space,

        h⁺ = argmin_g ½Σ w_i D_i (g(x_i) − z_i)² + (α/2)‖g‖²,   z = h − D⁻¹ℓ′,  α = ridge·Σw.

    Parameters
    ----------
    system : System
    state : Workspace
    max_newton : int
    tol : float
        Newton stops when ‖∇J(h)‖_H ≤ tol·ridge·‖h‖_H (in a Subspace, when the Newton decrement is
        at most tol times the energy norm of h). It also stops, as converged, when rounding keeps
        the relative error from falling further, if that is then below 1e-3.
    """

    def __init__(self, instance, system, state, max_newton, tol):
        self.instance, self._system = instance, system
        self._max_newton, self._tol = max_newton, tol
        self.state = state
        self._dtype = instance.dtype
        self._constant = instance.problem.inner_loss.constant_curvature
        self._at_zero = None
        self._solve_from(state.start)
        self.coefficients = system.representation(self._theta)
        self.h_outer = system.outer_values(self._theta, self.h_inner)
        state.start = self._theta if system.from_coefficients else self.h_inner
        self.gram = system.gram

    @property
    def jitter(self):
        """The largest jitter that a factorisation has needed."""
        return self._system.jitter

    def _solve_from(self, known):
        """Newton's method from a ``known`` start or from zero, which affects the cost alone.

        A start is given by values where the system can use these: they change less with ω than
        most coefficients do. With constant curvature one direct step is exact from anywhere, and
        starting from zero gives the same bits every time.
        """
        F, n = self._system.weights.shape
        values = (F, n, self.instance.n_outputs)
        coefficients = (F, self._system.size, values[2])
        direct = not self._system.from_coefficients
        if self._constant and direct:
            self._newton(self._from_values(np.zeros(values)))
            return
        if known is not None and known.shape == (values if direct else coefficients):
            with contextlib.suppress(SingularSystem), np.errstate(over="ignore", invalid="ignore"):
                self._newton(self._from_values(known) if direct else known)
                if self.status.ok:
                    return
            self._system.forget()
        self._newton(np.zeros(coefficients))

    def _pointwise(self, values):
        """ℓ_in, ∂_vℓ_in and ∂²_vℓ_in at given values."""
        if not self._constant:
            found = _pointwise(self.instance, np.asarray(values, self._dtype))
            return [host(part) for part in found]
        if self._at_zero is None:  # these determine a quadratic everywhere
            zero = np.zeros((1, *values.shape[1:]), self._dtype)
            self._at_zero = [host(part) for part in _pointwise(self.instance, zero)]
        losses, slopes, curvatures = self._at_zero
        losses = losses + np.sum((0.5 * values + slopes) * values, -1)
        shape = (*values.shape, values.shape[2])
        return losses, slopes + values, np.broadcast_to(curvatures, shape)

    def _evaluate(self, values):
        """Σ wℓ (F,), the slopes and the weighted curvatures at given values."""
        losses, slopes, curvatures = self._pointwise(values)
        w = self._system.weights
        weighted = np.where(w > 0, w * np.where(w > 0, losses, 0.0), 0.0)
        slopes = np.where(w[:, :, None] > 0, slopes, 0.0)
        curvatures = w[:, :, None, None] * np.where(w[:, :, None, None] > 0, curvatures, 0.0)
        return weighted.sum(1), slopes, curvatures

    def _objective(self, coefficients, values):
        """Σ wℓ + (α/2)‖h‖², the slopes, the weighted curvatures and ‖h‖²."""
        losses, slopes, curvatures = self._evaluate(values)
        norms = self._system.pairing(coefficients, coefficients, values)
        return losses + 0.5 * self._system.alpha * norms, slopes, curvatures, norms

    def _from_values(self, values):
        """The coefficients (F, N, p) after a full Newton step, which needs values of h alone."""
        w = self._system.weights
        _, slopes, curvatures = self._evaluate(values)
        self._factorise(range(len(w)), values, curvatures)
        curved = np.einsum("fiab,fib->fia", curvatures, values)
        return self._system.minimise(w[:, :, None] * slopes - curved)

    def _newton(self, theta):
        system, w = self._system, self._system.weights
        F = len(system.alpha)
        values = system.values(theta) if theta.any() else np.zeros((*w.shape, theta.shape[2]))
        objective, slopes, curvatures, norms = self._objective(theta, values)
        previous, frozen = np.full(F, np.inf), np.zeros(F, bool)
        for step in range(self._max_newton + 1):
            gradient = system.gradient(slopes, theta)
            errors, scale = system.accuracy(gradient, norms, values, curvatures)
            # Close to the solution, where Newton converges quadratically, only rounding stalls it.
            close = self._constant | (errors <= ACCEPTABLE * scale)
            stalled = (errors >= 0.25 * previous) & close & np.isfinite(errors)
            # A direct step solves a quadratic exactly, so that only rounding errors are left.
            done = self._constant and system.direct and (errors <= ACCEPTABLE * scale).all()
            active = (errors > self._tol * scale) & ~stalled & ~frozen
            if done or step == self._max_newton or not active.any():
                break
            previous = errors
            moving = np.flatnonzero(active)
            self._factorise(moving, values, curvatures)
            if not np.isfinite(errors).all():  # there was no factor yet to measure them by
                errors, scale = system.accuracy(gradient, norms, values, curvatures)
            # Solving for the correction, not for the new iterate, also reduces rounding errors.
            correction = system.solve(
                system.total[:, None, None] * gradient, moving, self._enough(errors, scale)
            )
            target = theta - correction
            theta, values, evaluated, failed = self._line_search(
                theta, values, objective, gradient, target, active
            )
            objective, slopes, curvatures, norms = evaluated
            frozen |= failed
        self._theta, self.h_inner, self._curvatures = theta, values, curvatures
        self.residual = float(system.norm_bound(gradient).max())
        short = system.cut_short or (step == self._max_newton and not done and active.any())
        self.status = self._judge(errors, scale, gradient, norms, objective, short)

    def _enough(self, errors, scale):
        """The error allowed in a step: Newton's own error after it is quadratic in ``errors``."""
        relative = np.full_like(errors, FORCING)
        np.divide(errors, scale, out=relative, where=errors < FORCING * scale)
        forcing = 0.0 if self._constant else errors * relative
        return np.maximum(0.5 * self._tol * scale, forcing)

    def _probabilities(self, values):
        return _probabilities(self.instance, np.asarray(values, self._dtype))

    def _factorise(self, replicates, values, curvatures):
        probabilities = None if self._constant else self._probabilities(values)
        if probabilities is None:
            curvatures = convex_part(curvatures)
        else:
            probabilities = host(probabilities)
        self._system.factorise(replicates, curvatures, probabilities)

    def _line_search(self, theta, values, objective, gradient, target, active):
        """The longest step 1, ½, ¼ … of each replicate that decreases its objective enough.

        Returns the coefficients, the values, the objective and its derivatives there, and which
        replicates found no such step; these stay where they are.
        """
        system = self._system
        direction = target - theta
        changes = system.values(target) - values
        slope = system.total * system.pairing(gradient, direction, changes)
        slack = 100 * np.finfo(self._dtype).eps * np.abs(objective)
        steps, failed = np.where(active, 1.0, 0.0), np.zeros(len(active), bool)
        while True:
            scaled = steps[:, None, None]
            # At a full step the target itself, not theta + (target − theta): no cancellation.
            candidate = np.where(scaled == 1.0, target, theta + scaled * direction)
            at = values + scaled * changes
            evaluated = self._objective(candidate, at)
            good = evaluated[0] <= objective + ARMIJO * steps * slope + slack
            if not (good | (steps == 0)).all():
                gradient = system.gradient(evaluated[1], candidate)
                there = system.total * system.pairing(gradient, direction, changes)
                # Where objectives differ by rounding alone, the slope still tells whether the
                # minimum along the line has been passed.
                good |= (there <= FLAT * np.abs(slope)) & (evaluated[0] <= objective - slope)
            if (good | (steps == 0)).all():
                return candidate, at, evaluated, failed
            steps = np.where(good, steps, 0.5 * steps)
            failed |= active & (steps < SMALLEST_STEP)
            steps[failed] = 0.0

    def _judge(self, errors, scale, gradient, norms, objective, short):
        if not (np.isfinite(self._theta).all() and np.isfinite(errors).all()):
            return Status.NON_FINITE
        blocks = self._curvatures
        eigenvalues = blocks if blocks.shape[-1] == 1 else np.linalg.eigvalsh(blocks)
        smallest = 0.0 if self._constant else eigenvalues.min(initial=0.0)
        negative = smallest < -1e-8 * np.abs(blocks).max(initial=0.0)
        if negative and self._probabilities(self.h_inner) is None:  # for softmax it is rounding
            return Status.NOT_CONVEX
        allowed = accepted(self._tol, short) * scale
        if (errors > allowed).any():  # the bound exceeds the norm by up to the root of K's rank
            errors, _ = self._system.accuracy(gradient, norms, self.h_inner, blocks, tight=True)
            self.residual = float(self._system.norm(gradient).max())
        # If h almost vanishes, its residual is a rounding error of the loss.
        solved = (errors <= np.maximum(allowed, self._system.rounding(objective))).all()
        return Status.CONVERGED if solved else Status.INNER_NOT_CONVERGED

    def adjoint(self, slopes):
        missing = self._system.missing
        if missing:  # replicates that needed no step
            self._factorise(missing, self.h_inner, self._curvatures)
        return self._system.adjoint(slopes, self._curvatures, self._tol)
