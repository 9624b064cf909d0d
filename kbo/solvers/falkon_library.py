"""The falkon library's conjugate gradients and preconditioner, behind kbo's interface."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np

from .. import kernels
from ._newton.rows import STORED
from ._newton.subspace_system import SubspaceSolver
from .falkon import FalkonSystem

INSTALL = (
    "FalkonLibrary needs PyTorch and the falkon library, which is installed from its source: "
    "https://github.com/FalkonML/falkon; or use kbo.solvers.Falkon"
)


class FalkonLibrary(SubspaceSolver):
    """Falkon's solves by the falkon library (PyTorch), on the CPU or on CUDA devices.

    The library solves the inner and the adjoint system; everything else, the reverse pass
    included, is kbo's. Points and centres are handed over by DLPack, without copies.

    Parameters
    ----------
    centers, memory
        See Nystrom; ``memory`` is for kbo's own products, the library has its own rules.
    max_newton, tol
        See Falkon; ``tol`` is also the library's ``cg_tolerance``.
    max_cg : int
        Conjugate gradient steps a solve.

    Raises
    ------
    ImportError
        Where the library is not installed; the message says how to install it.
    ValueError
        For kernels the library does not have: it has Gaussian, Matérn, linear and polynomial ones.

    References
    ----------
    Meanti, Carratino, Rosasco, Rudi (2020), Kernel methods through the roof.
    """

    centers: Any = None
    memory: float = STORED
    mesh: ClassVar[None] = None
    mixed: ClassVar[bool] = False
    max_newton: int = 100
    tol: float = 1e-7
    max_cg: int = 200

    remedy = "raise max_cg of solver=kbo.solvers.FalkonLibrary(…)"

    def system(self, instance, workspace):
        """The ridge systems of this solver."""
        return FalkonLibrarySystem(instance, workspace, self)


def _library():
    try:
        import falkon
        import falkon.optim
        import falkon.preconditioner
        import torch
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return falkon, torch


def _translated(kernel, falkon, torch, options):
    """The library's kernel for one of kbo's."""
    tensor = lambda value: torch.as_tensor(np.array(value, float, ndmin=1))  # noqa: E731
    name = type(kernel).__name__
    matern = {"Matern12": 0.5, "Matern32": 1.5, "Matern52": 2.5}
    if name == "Gaussian":
        return falkon.kernels.GaussianKernel(tensor(kernel.lengthscale), opt=options)
    if name in matern:
        return falkon.kernels.MaternKernel(
            tensor(kernel.lengthscale), nu=matern[name], opt=options
        )
    if isinstance(kernel, kernels.Linear) and np.ndim(kernel.lengthscale) == 0:
        return falkon.kernels.LinearKernel(
            beta=tensor(kernel.offset), gamma=tensor(kernel.lengthscale) ** -2, opt=options
        )
    if isinstance(kernel, kernels.Polynomial) and np.ndim(kernel.lengthscale) == 0:
        return falkon.kernels.PolynomialKernel(
            beta=tensor(kernel.offset), gamma=tensor(kernel.lengthscale) ** -2,
            degree=tensor(kernel.degree), opt=options,
        )
    raise ValueError(
        f"kernel={name} has no counterpart in the falkon library: use Gaussian, Matern12/32/52, "
        "Linear or Polynomial, or kbo.solvers.Falkon"
    )


class FalkonLibrarySystem(FalkonSystem):
    """One preconditioner and one run of the library's conjugate gradients for each replicate."""

    from_coefficients: ClassVar[bool] = False

    def __init__(self, instance, workspace, options):
        self._falkon, self._torch = _library()
        super().__init__(instance, workspace, options)
        on_cpu = jax.default_backend() == "cpu"
        self._flk_options = self._falkon.FalkonOptions(
            use_cpu=on_cpu, keops_active="no", cg_tolerance=options.tol,
            cg_full_gradient_every=10, pc_epsilon_64=10 * np.finfo(float).eps,
        )
        kernel = instance.space.kernel
        self._kernel = _translated(kernel, self._falkon, self._torch, self._flk_options)
        self._x, self._z = (
            self._torch.from_dlpack(a) for a in (instance.inner.x, instance.space.centers)
        )

    def _prepare(self, replicates, curvatures, probabilities):
        # kbo's own preconditioner only measures what the library leaves unsolved.
        super()._prepare(replicates, curvatures, probabilities)
        p = curvatures.shape[-1]
        diagonal = np.diagonal(curvatures, axis1=2, axis2=3)
        if np.count_nonzero(curvatures) > np.count_nonzero(diagonal):
            raise ValueError(
                "the falkon library cannot solve for outputs that the loss couples: use "
                "kbo.solvers.Falkon"
            )
        self._columns = [(f, a) for f in range(len(curvatures)) for a in range(p)]
        self._solvers = {}
        for f, a in self._columns:
            weights = diagonal[f, :, a]
            scale = weights.mean()
            preconditioner = self._falkon.preconditioner.FalkonPreconditioner(
                self.alpha[f] / (len(weights) * scale), self._kernel, self._flk_options
            )
            preconditioner.init(self._z)
            self._solvers[f, a] = preconditioner, weights, scale

    def _solve_column(self, key, rhs):
        """θ of one replicate and output for its functional (M,)."""
        torch = self._torch
        preconditioner, weights, scale = self._solvers[key]
        n = len(weights)
        penalty = self.alpha[key[0]] / (n * scale)
        run = self._falkon.optim.FalkonConjugateGradient(
            self._kernel, preconditioner, self._flk_options
        )
        arguments = {"penalty": penalty, "X": self._x, "M": self._z, "n": n}
        if (weights == weights[0]).all():
            multiply = partial(run.falkon_mmv, **arguments)
        else:
            scaled = torch.as_tensor(weights / scale)[:, None]
            multiply = partial(run.weighted_falkon_mmv, y_weights=scaled, **arguments)
        functional = torch.as_tensor(np.ascontiguousarray(rhs)[:, None] / (n * scale))
        start = preconditioner.apply_t(functional)
        beta = run.optimizer.solve(None, start, multiply, self._limits[1], None)
        return preconditioner.apply(beta).numpy()[:, 0]

    def solve(self, rhs, replicates=None, target=None):
        """Solve the ridge systems of the replicates asked for."""
        out = np.zeros_like(rhs)
        for f in range(len(rhs)) if replicates is None else replicates:
            functional = self.root.root_times(np.asfortranarray(rhs[f]))
            theta = np.stack(
                [self._solve_column((f, a), functional[:, a]) for a in range(functional.shape[1])],
                axis=1,
            )
            out[f] = self.root.root_times(np.asfortranarray(theta), transposed=True)
        return out

    def _solve_adjoint(self, rhs, curvatures):
        self.factorise(range(len(rhs)), curvatures)
        u = self.solve(rhs)
        return u, rhs - self.apply(u, curvatures)
