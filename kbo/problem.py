"""The bilevel problem: its data, losses, space, ridge and penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .arithmetic import is_traced, resolve
from .instance import Instance
from .kernels import Kernel
from .losses import Joint, Loss, as_loss
from .module import Module
from .sample import Sample
from .stream import Stream


class BilevelProblem(Module):
    """A bilevel problem: ω is tuned through an inner problem in a space of functions.

    The inner and the outer problem are::

        h_ω  = argmin_h (1/Σw) Σ_i w_i ℓ_in(ω, h(x_i), t_i) + (ridge(ω)/2) ‖h‖²_H
        L(ω) = (1/Σv) Σ_j v_j ℓ_out(ω, h_ω(x'_j), y_j) + penalty(ω)

    Parameters
    ----------
    inner_loss, outer_loss : callable
        ℓ(ω, v, t) of one sample; kbo.losses or any JAX function. ``inner_loss`` must be convex
        and twice differentiable in v. ``outer_loss`` may be a kbo.losses.Joint instead, a loss of
        all predictions at once.
    inner_data, outer_data : Sample or callable of ω
        Samples (x_i, t_i, w_i) and (x'_j, y_j, v_j). If both have the same points, one kernel
        matrix serves both; samples that depend on ω must share the ``x`` array object for this.
        With (F, n) and (F, m) weights, h has F replicates h_f and L averages over all (f, j).
    space : kbo.RKHS, kbo.FeatureSpace or callable of ω
        The space H of h.
    ridge : float, array (F,) or callable of ω
        Positive; an array has one ridge for each replicate.
    penalty : callable of ω, optional
        It is added to L; by default nothing is.
    n_outputs : int, optional
        p for vector predictions; None (default) for scalar ones.
    constants, code
        Set by kbo alone.

    Raises
    ------
    ValueError
        For an argument of another kind; the text says which one, and what to give instead.

    References
    ----------
    El Khoury, Pauwels, Vaiter, Arbel (2025), Learning Theory for Kernel Bilevel Optimization,
    eqs. (KBO) and Proposition 2.2.

    Examples
    --------
    Kernel ridge regression of a sine, whose ridge is the exponential of a number ω:

    >>> import jax.numpy as jnp
    >>> import kbo
    >>> x = jnp.linspace(0.0, 6.0, 30)
    >>> problem = kbo.BilevelProblem(
    ...     inner_loss=kbo.losses.Squared(), outer_loss=kbo.losses.Squared(),
    ...     inner_data=kbo.Sample(x[::2], jnp.sin(x[::2])),
    ...     outer_data=kbo.Sample(x[1::2], jnp.sin(x[1::2])),
    ...     space=kbo.RKHS(kbo.kernels.Gaussian()), ridge=jnp.exp)
    >>> print(problem.at(jnp.array(0.0)).ridge)
    [1.]
    """

    inner_loss: Loss = eqx.field(converter=as_loss)
    outer_loss: Loss | Joint = eqx.field(converter=as_loss)
    inner_data: Any
    outer_data: Any
    space: Any
    ridge: Any
    penalty: Callable | None = None
    n_outputs: int | None = eqx.field(static=True, default=None)
    # Set by kbo: the leaves of ω that are not floating-point, and the fingerprint of the code.
    constants: Any = eqx.field(default=None, repr=False)
    code: str | None = eqx.field(static=True, default=None, repr=False)

    def __check_init__(self):
        for name in ("inner_loss", "outer_loss"):
            loss = getattr(self, name)
            if isinstance(loss, type):
                raise ValueError(f"{name}={loss.__name__} is a class: give {loss.__name__}(…)")
            if not callable(loss):
                raise ValueError(f"{name} must be a callable ℓ(omega, prediction, target)")
        for name in ("inner_data", "outer_data"):
            value = getattr(self, name)
            if not (isinstance(value, Sample) or callable(value)):
                raise ValueError(f"{name} must be a kbo.Sample or a callable of omega")
        if isinstance(self.space, type):
            name = self.space.__name__
            raise ValueError(f"space={name} is a class: give an instance of it, {name}(…)")
        if isinstance(self.space, Kernel):
            raise ValueError(
                f"space={type(self.space).__name__}(…) is a kernel: give space=kbo.RKHS(kernel)"
            )
        if not (self.penalty is None or callable(self.penalty)):
            raise ValueError(f"penalty={self.penalty!r} must be a callable of omega, or None")
        p = self.n_outputs
        if p is not None and (not isinstance(p, int) or isinstance(p, bool) or p < 1):
            raise ValueError(f"n_outputs={p!r} must be a positive integer or None")
        ridge = self.ridge
        is_number = eqx.is_array_like(ridge) or isinstance(ridge, list | tuple)
        kind = ridge.dtype.kind if eqx.is_array(ridge) else np.asarray(ridge).dtype.kind
        if not (callable(ridge) or (is_number and kind in "fiu")):
            raise ValueError(f"ridge={ridge!r} must be a positive number, an array or a callable")

    def replace(self, **changes) -> BilevelProblem:
        """A copy with some fields changed: ``problem.replace(ridge=1e-3)``.

        Parameters
        ----------
        **changes
            New values of the arguments of BilevelProblem, by name.

        Raises
        ------
        ValueError
            For another name.
        """
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        unknown = set(changes) - set(fields)
        if unknown:
            raise ValueError(f"BilevelProblem has no fields {sorted(unknown)}, only {list(fields)}")
        return BilevelProblem(**{**fields, **changes})

    def at(self, omega) -> Instance:
        """The problem at one ω, with every part that may depend on ω evaluated.

        Raises
        ------
        ValueError
            If the samples differ in their number of features, or if numbers of replicates differ.
        """
        parts = self.inner_data, self.outer_data, self.space, self.ridge
        inner, outer, space, ridge = [resolve(part, omega) for part in parts]
        if inner.x.shape[1] != outer.x.shape[1]:
            raise ValueError(
                f"outer_data has {outer.x.shape[1]} features but inner_data has {inner.x.shape[1]}"
            )
        xp = jnp if is_traced(ridge) else np  # which compiles nothing
        ridge = xp.asarray(ridge, inner.x.dtype)
        counts = {
            "inner_data.weights": inner.replicates, "outer_data.weights": outer.replicates,
            "ridge": ridge.size,
        }
        replicates = max(counts.values())
        for name, count in counts.items():
            if count not in (1, replicates):
                raise ValueError(
                    f"{name} has {count} replicates but another argument has {replicates}: "
                    f"give 1 or {replicates}"
                )
        if ridge.shape != (replicates,):
            ridge = xp.broadcast_to(ridge, (replicates,))
        return Instance(self, omega, inner, outer, space, ridge)

    @property
    def streamed(self) -> bool:
        """Whether inner or outer points are a kbo.Stream, which stays on disk."""
        points = [part.x for part in (self.inner_data, self.outer_data) if isinstance(part, Sample)]
        return any([isinstance(x, Stream) for x in points])

    def whole(self, omega):
        """The whole of ω, from its floating-point leaves and the constant ones."""
        return omega if self.constants is None else eqx.combine(omega, self.constants)

    def with_constants(self, constants) -> BilevelProblem:
        """The problem as a function of ω's floating-point leaves; ``constants`` are the others."""
        names = ("inner_data", "outer_data", "space", "ridge", "penalty")
        fields = {name: getattr(self, name) for name in names}
        wrapped = {
            name: WithConstants(value, constants)
            for name, value in fields.items() if callable(value)
        }
        return self.replace(constants=constants, **wrapped)


class WithConstants(Module):
    """A function of ω that is called with the floating-point leaves of ω alone."""

    function: Callable
    constants: Any

    def __call__(self, omega):
        return self.function(eqx.combine(omega, self.constants))
