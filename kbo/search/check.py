"""A report on whether a hypergradient can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..function import Function
from ..hypergradients import FiniteDifference, Implicit
from ..hypergradients.base import on_device
from ..result import BilevelError, Status
from .session import prepare

ROUGH = 1e-2  # relative error of differences beyond which those in float32 say nothing
SHORTER = (0.1, 0.01)  # parts of the step that are tried where differences disagree


@dataclass(frozen=True)
class HypergradientReport:
    """The result of ``check_hypergradient``; ``print`` shows it as a table.

    Attributes
    ----------
    derivatives, differences : ndarray (k,)
        ∇L·u by the method, and by fourth-order central differences, for k random unit u.
    relative_error : float
        ‖derivatives − differences‖ / ‖differences‖.
    adjoint_identity : float or None
        ``|⟨ρ₁, A⁻¹ρ₂⟩ − ⟨A⁻¹ρ₁, ρ₂⟩|``, relative, for two random slopes: the formula of the
        hypergradient needs solves that are self-adjoint. None if the solver solves no adjoint.
    error_bound : float
        The a-posteriori bound on ‖grad − ∇L‖, relative to ‖grad‖.
    rounding : float
        The relative error that rounding is expected to cause in the differences.
    tol : float
    status : Status
        The status of the hypergradient.
    dtype : str
        The precision of the computation; differences in float32 tell little.
    """

    derivatives: np.ndarray
    differences: np.ndarray
    relative_error: float
    adjoint_identity: float | None
    error_bound: float
    rounding: float
    tol: float
    status: Status
    dtype: str = "float64"

    @property
    def ok(self) -> bool:
        """Whether the hypergradient was found to be right: ``verdict == "right"``."""
        return self.verdict == "right"

    @property
    def verdict(self) -> str:
        """``"right"``, ``"undecided"``, ``"approximation"`` or ``"wrong"``.

        It is right where relative_error and adjoint_identity are ≤ max(tol, rounding) +
        error_bound, an error bound that is not finite counting as zero. In float32 differences can
        only confirm it, and only if they are good to a hundredth: otherwise it is undecided. What
        is not right is an approximation if its status does not claim more.
        """
        bound = self.error_bound if np.isfinite(self.error_bound) else 0.0
        allowed = max(self.tol, self.rounding) + bound
        agrees = self.relative_error <= allowed and (self.adjoint_identity or 0.0) <= allowed
        if self.dtype != "float64" and not (agrees and self.rounding <= ROUGH):
            return "undecided"
        if agrees:
            return "right"
        return "wrong" if self.status.ok else "approximation"

    def __str__(self):
        rows = [
            f"{'direction':>9}  {'hypergradient':>16}  {'difference':>16}  {'error':>8}",
            *(
                f"{k:9d}  {a:16.9e}  {b:16.9e}  {abs(a - b):8.1e}"
                for k, (a, b) in enumerate(zip(self.derivatives, self.differences, strict=True))
            ),
            f"relative error    {self.relative_error:8.1e}   (tol {self.tol:.0e}; differences are "
            f"good to about {self.rounding:.0e})",
            "adjoint identity      none" if self.adjoint_identity is None
            else f"adjoint identity  {self.adjoint_identity:8.1e}",
            f"error bound       {self.error_bound:8.1e}   (from the residuals of both solves, "
            "relative to the gradient)",
            self._sentence(),
        ]
        return "\n".join(rows)

    def _sentence(self):
        return {
            "right": "the hypergradient is right",
            "undecided": (
                f"undecided: differences in {self.dtype} are too rough"
                f"{', and they disagree' if self.relative_error > self.rounding else ''}; compute "
                "in float64, with jax.config.update('jax_enable_x64', True)"
            ),
            "approximation": (
                f"the hypergradient is an approximation, {self.status.name}: {self.status}"
            ),
            "wrong": (
                "the hypergradient is WRONG, or L has a kink at this ω: is the inner loss convex "
                "in the prediction and twice differentiable (Huber's is not, at its threshold), "
                "and the inner problem solved? (see hg.status)"
            ),
        }[self.verdict]


def check_hypergradient(
    problem, omega, *, solver=None, method=None, directions=5, step=1e-3, tol=1e-6, seed=0
) -> HypergradientReport:
    """Compare ∇L(ω)·u with central differences of L along random directions u.

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree
    solver, method
        As in value_and_hypergradient.
    directions : int
        k, the number of random unit vectors u; no more than ω has numbers.
    step : float
        Step of the differences, relative to max(1, max ``|ω_k|``). Where they disagree with ∇L, a
        tenth and a hundredth of it are tried: with Huber's loss, say, ∇L jumps where an error
        crosses the threshold.
    tol : float
        Relative error up to which the report calls the hypergradient right.
    seed : int

    Returns
    -------
    HypergradientReport

    Raises
    ------
    BilevelError
        If the hypergradient or an inner solution cannot be computed.

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
    >>> kbo.check_hypergradient(problem, jnp.array(-3.0)).ok
    True
    """
    with prepare(problem, omega, solver, method or Implicit()) as session:
        return _compare(session, directions, step, tol, seed)


def _compare(session, directions, step, tol, seed):
    instance, solver = session.first, session.solver
    result = session.evaluate()
    if not (result.status.completed or result.status is Status.ADJOINT_NOT_CONVERGED):
        result = session.explained(result)
        raise BilevelError(result.status, result, result.hint)
    grad, unravel = ravel_pytree(jax.tree.map(jnp.asarray, result.grad))
    count = min(directions, grad.size)  # more would repeat what the others say
    draws = np.random.default_rng(seed).standard_normal((count, grad.size))
    draws /= np.linalg.norm(draws, axis=1, keepdims=True)
    derivatives = draws @ np.asarray(grad, float)

    def compared(step):
        differences = along(step)
        size = max(np.linalg.norm(differences), np.finfo(float).tiny)
        noise = float(np.finfo(instance.dtype).eps) * 1e2 * abs(result.value) / step
        return HypergradientReport(
            derivatives=derivatives,
            differences=differences,
            relative_error=float(np.linalg.norm(derivatives - differences) / size),
            adjoint_identity=identity,
            error_bound=result.error_bound / max(float(np.linalg.norm(grad)), np.finfo(float).tiny),
            rounding=noise / size,
            tol=tol, status=result.status, dtype=np.dtype(instance.dtype).name,
        )

    def along(step):
        oracle = FiniteDifference(step=step)
        ahead = [unravel(jnp.asarray(u, grad.dtype)) for u in draws]
        return np.array([oracle.directional(instance, u, solver) for u in ahead])

    identity = _adjoint_identity(instance, solver, seed)
    report = compared(step)
    for part in SHORTER:  # L may have a kink nearby, but a wrong gradient is wrong at every step
        if report.verdict in ("right", "undecided"):
            break
        report = compared(part * step)
    return report


def _adjoint_identity(instance, solver, seed) -> float | None:
    """The relative violation of ⟨s₁, a(s₂)⟩ = ⟨s₂, a(s₁)⟩ for random outer slopes s₁ and s₂."""
    if not solver.solves_adjoint:
        return None
    solution = solver.solve(instance)
    shape = solution.h_outer.shape
    first, second = np.random.default_rng(seed).standard_normal((2, *shape))
    x = instance.outer.x

    def at_outer(slopes):
        a = solution.adjoint(slopes)
        coefficients = on_device(a.coefficients, x.dtype)
        function = Function(solution.instance, coefficients, a.on_both)
        return np.reshape(function(x), shape)

    values = [at_outer(s) for s in (first, second)]
    left, right = np.sum(second * values[0]), np.sum(first * values[1])
    return float(abs(left - right) / max(abs(left), abs(right), np.finfo(float).tiny))
