"""The exact solver: the representer theorem, or the normal equations of a feature space."""

from __future__ import annotations

from ..needs import Needs
from ..spaces import RKHS, FeatureSpace
from ._newton.feature_system import FeatureSystem
from ._newton.kernel_system import KernelSystem
from ._newton.newton import NewtonSolver
from ._traced import feature_equations, kernel_equations


class Exact(NewtonSolver):
    """h_ω by the representer theorem (RKHS) or the normal equations (FeatureSpace).

    The symmetric form αI + (wD)^½ K (wD)^½ of Newton's system is factorised by LAPACK in float64
    whatever the dtype of the data. A squared loss needs one factorisation per ω and replicate; it
    serves the inner solution, the adjoint and every output. O(n³) time, O(F n²) memory.

    Parameters
    ----------
    max_newton : int
        Newton steps allowed.
    tol : float
        Relative residual ‖∇J(h)‖_H ≤ tol·ridge·‖h‖_H at which Newton stops; it also stops, as
        converged, where rounding keeps the residual from falling, if it is then below 1e-3.

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
    >>> solver = kbo.solvers.Exact(tol=1e-9)
    >>> print(kbo.value_and_hypergradient(problem, jnp.array(-5.0), solver=solver).solver)
    Exact
    """

    max_newton: int = 100
    tol: float = 1e-11

    traceable = True
    remedy = "raise max_newton of solver=kbo.solvers.Exact(max_newton)"

    needs = Needs(
        spaces=(RKHS, FeatureSpace),
        remedy="use solver=kbo.solvers.Gradient() for networks, Nystrom or Falkon for a kbo.Stream",
    )

    def system(self, instance, workspace):
        """Its systems are of the size of the sample in an RKHS, of the features otherwise."""
        if isinstance(instance.space, RKHS):
            return KernelSystem(instance, workspace)
        return FeatureSystem(instance)

    def equations(self, instance):
        """Those of the whole sample in an RKHS, of the features otherwise."""
        assemble = kernel_equations if isinstance(instance.space, RKHS) else feature_equations
        return assemble(instance)
