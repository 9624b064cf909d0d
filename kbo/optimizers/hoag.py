"""Steps along inexact gradients whose errors are summable."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import numpy as np

from ..result import Status
from .base import Optimizer, stationary

SCHEDULES = {
    "quadratic": lambda k: 0.1 / k**2,
    "cubic": lambda k: 0.1 / k**3,
    "exponential": lambda k: 0.1 * 0.9**k,
}
PASS, FAIL = 1.05, 0.5  # factors of the step after acceptance and rejection
PATIENCE = 2  # rejections in a row
SHORTEST = 1e-14  # step, relative to the first one


class HOAG(Optimizer):
    """ω ← P(ω − s_k p_k), p_k being the hypergradient to the tolerance ε_k, Σ ε_k < ∞.

    The inner and the adjoint problem are solved to the relative tolerance ε_k, where solver and
    method accept one: QuasiNewton and Exact, Parametric with CG or LBFGS. The step s grows by the
    factor 1.05 if::

        L_{k+1}(ω⁺) ≤ L_k(ω) − ‖ω⁺ − ω‖²/(2s) + (ε_k + ε_{k+1})|L_k(ω)|,

    the decrease of a function with a 1/s-Lipschitz gradient, up to the errors that the tolerances
    allow. Otherwise the step is rejected and s is halved. After two rejections in a row L_k(ω) and
    p_k, which may be the cause, are computed again, to the current tolerance.

    Parameters
    ----------
    schedule : {"exponential", "quadratic", "cubic"} or callable
        ε_k = 0.1·0.9^k, 0.1/k², 0.1/k³ for k = 1, 2, …, or a function k ↦ ε_k.
    step : float, optional
        The first s; √q/‖p_1‖ by default.
    max_steps : int
        Evaluations allowed, including those of rejected steps.
    tol : float
        Stop when both the norm of the projected gradient and ε_k are at most tol.

    References
    ----------
    Pedregosa (2016), Hyperparameter Optimization with Approximate Gradient, Algorithm 1, Section 5.
    """

    schedule: str | Callable = eqx.field(static=True, default="exponential")
    step: float | None = None
    max_steps: int = 200
    tol: float = 1e-5

    comparable = False

    def __check_init__(self):
        if not callable(self.schedule) and self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule={self.schedule!r} must be one of {sorted(SCHEDULES)} or a callable of k"
            )
        if self.step is not None and not self.step > 0:
            raise ValueError(f"step={self.step!r} must be positive")

    def run(self, evaluate, report, omega, lower, upper, tree=None):
        """Steps with hypergradients of the tolerances ε_1, ε_2, …; see Optimizer.run."""
        tolerance = self.schedule if callable(self.schedule) else SCHEDULES[self.schedule]
        eps = tolerance(1)
        value, grad = evaluate(omega, accuracy=eps)
        if not np.isfinite(value):
            return Status.NON_FINITE
        first = self.step or np.sqrt(len(omega)) / max(np.linalg.norm(grad), 1e-300)
        step, rejected = first, 0
        for k in range(2, self.max_steps + 2):
            if stationary(omega, grad, lower, upper, self.tol) and eps <= self.tol:
                return Status.CONVERGED
            if rejected == PATIENCE:
                eps, rejected = tolerance(k), 0
                value, grad = evaluate(omega, accuracy=eps)
                continue
            candidate = np.clip(omega - step * grad, lower, upper)
            move, new_eps = candidate - omega, tolerance(k)
            new_value, new_grad = evaluate(candidate, accuracy=new_eps)
            enough = value - move @ move / (2 * step) + (eps + new_eps) * abs(value)
            if new_value <= enough:
                omega, value, grad, eps = candidate, new_value, new_grad, new_eps
                step, rejected = step * PASS, 0
                report(omega)
            else:
                step, rejected = step * FAIL, rejected + 1
                if step < SHORTEST * first:
                    return Status.LINE_SEARCH_FAILED
        return Status.STEPS_EXHAUSTED
