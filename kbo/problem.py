"""What is asked: the data, the losses, the space. The residual and Λ; no algorithm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .arithmetic import resolve
from .kernels import Kernel
from .losses import Joint, Loss, as_loss
from .programs import program
from .sample import Sample
from .stream import Stream


class BilevelProblem(eqx.Module):
    """An outer variable ω tuned through an inner problem posed in a space of functions.

        h_ω  = argmin_h (1/Σw) Σ_i w_i ℓ_in(ω, h(x_i), t_i) + (ridge(ω)/2) ‖h‖²_H
        L(ω) = (1/Σv) Σ_j v_j ℓ_out(ω, h_ω(x'_j), y_j) + penalty(ω)

    Parameters
    ----------
    inner_loss, outer_loss : callable
        ℓ(ω, v, t) of one sample; kbo.losses or any JAX function. ``inner_loss`` must be convex
        and twice differentiable in v. ``outer_loss`` may be a kbo.losses.Joint instead, a loss of
        all predictions at once.
    inner_data, outer_data : Sample or callable of ω
        Samples (x_i, t_i, w_i) and (x'_j, y_j, v_j). Give both the same ``x`` array object and
        the kernel between them is evaluated once. With (F, n) and (F, m) weights, h has F
        replicates h_f and L sums over all (f, j).
    space : kbo.RKHS, kbo.FeatureSpace or callable of ω
        Where h lives.
    ridge : float, array (F,) or callable of ω
        Positive.
    penalty : callable of ω, optional
    n_outputs : int, optional
        p for vector predictions; None (default) for scalar ones.

    References
    ----------
    El Khoury, Pauwels, Vaiter, Arbel (2025), Learning Theory for Kernel Bilevel Optimization,
    eqs. (KBO) and Proposition 2.2.
    """

    inner_loss: Loss = eqx.field(converter=as_loss)
    outer_loss: Loss | Joint = eqx.field(converter=as_loss)
    inner_data: Any
    outer_data: Any
    space: Any
    ridge: Any
    penalty: Callable | None = None
    n_outputs: int | None = eqx.field(static=True, default=None)
    # Set by kbo: the leaves of ω that are no floating arrays, and the fingerprint of the code.
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
        if not (callable(ridge) or (is_number and np.asarray(ridge).dtype.kind in "fiu")):
            raise ValueError(f"ridge={ridge!r} must be a positive number, an array or a callable")

    def replace(self, **changes) -> BilevelProblem:
        """A copy with some fields changed: ``problem.replace(ridge=1e-3)``."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        unknown = set(changes) - set(fields)
        if unknown:
            raise ValueError(f"BilevelProblem has no fields {sorted(unknown)}, only {list(fields)}")
        return BilevelProblem(**{**fields, **changes})

    def at(self, omega) -> Instance:
        """The problem with every part that may depend on ω evaluated there."""
        parts = self.inner_data, self.outer_data, self.space, self.ridge
        inner, outer, space, ridge = [resolve(part, omega) for part in parts]
        if inner.x.shape[1] != outer.x.shape[1]:
            raise ValueError(
                f"outer_data has {outer.x.shape[1]} features but inner_data has {inner.x.shape[1]}"
            )
        ridge = jnp.asarray(ridge, inner.x.dtype)
        counts = {
            "inner_data.weights": inner.replicates, "outer_data.weights": outer.replicates,
            "ridge": ridge.size,
        }
        replicates = max(counts.values())
        for name, count in counts.items():
            if count not in (1, replicates):
                raise ValueError(
                    f"{name} has {count} replicates, others {replicates}: give one or as many"
                )
        if ridge.shape != (replicates,):
            ridge = jnp.broadcast_to(ridge, (replicates,))
        return Instance(self, omega, inner, outer, space, ridge)

    @property
    def streamed(self) -> bool:
        """Whether some points stay on disk."""
        data = (self.inner_data, self.outer_data)
        return any(isinstance(part, Sample) and isinstance(part.x, Stream) for part in data)

    def whole(self, omega):
        """ω with the leaves that are constants, from its floating ones."""
        return omega if self.constants is None else eqx.combine(omega, self.constants)

    def with_constants(self, constants) -> BilevelProblem:
        """The problem as one of the floating leaves of ω alone, the others being ``constants``."""
        names = ("inner_data", "outer_data", "space", "ridge", "penalty")
        fields = {name: getattr(self, name) for name in names}
        wrapped = {
            name: WithConstants(value, constants)
            for name, value in fields.items() if callable(value)
        }
        return self.replace(constants=constants, **wrapped)


class WithConstants(eqx.Module):
    """A function of ω, given the floating leaves of ω alone."""

    function: Callable
    constants: Any

    def __call__(self, omega):
        return self.function(eqx.combine(omega, self.constants))


@jax.tree_util.register_pytree_node_class
class Instance:
    """A problem at one ω: samples, space, ridge (F,); what solvers and Λ read.

    Values of functions on n points have shape (F, n, p) here, with p = 1 for scalar predictions.
    As a pytree it is (problem, ω): what depends on ω is made anew inside a compiled function (see
    ``of_instance``), which can then be differentiated in ω and serves every ω.

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree
        Its floating leaves.
    inner, outer : Sample
    space : Space
    ridge : array (F,)

    Attributes
    ----------
    dtype : dtype
        Of the inner points: that of the whole computation.
    n_outputs : int
        p, 1 for scalar predictions.
    """

    def __init__(self, problem, omega, inner, outer, space, ridge):
        self.problem, self.omega = problem, omega
        self.dtype, self.n_outputs = inner.x.dtype, problem.n_outputs or 1
        self.inner, self.outer, self.space, self.ridge = inner, outer, space, ridge

    def tree_flatten(self):
        """The problem and ω."""
        return (self.problem, self.omega), None

    @classmethod
    def tree_unflatten(cls, _, children):
        """Without the parts that depend on ω: ``of_instance`` makes them."""
        bare = object.__new__(cls)
        bare.problem, bare.omega = children
        return bare

    def at(self, omega) -> Instance:
        """The same problem at another ω."""
        return self.problem.at(omega)

    def replace(self, **changes) -> Instance:
        """The problem with some fields changed, at the same ω."""
        return self.problem.replace(**changes).at(self.omega)

    def with_samples(self, inner, outer) -> Instance:
        """The same with other samples, such as batches, in the place of both."""
        return Instance(self.problem, self.omega, inner, outer, self.space, self.ridge)

    @functools.cached_property
    def shared(self) -> bool:
        """Whether both samples are at the same points, so that one kernel matrix serves both."""
        inner, outer = self.inner.x, self.outer.x
        constant = not (callable(self.problem.inner_data) or callable(self.problem.outer_data))
        if inner is outer or not constant:
            return inner is outer
        if isinstance(inner, Stream) or isinstance(outer, Stream):
            return False
        return inner.shape == outer.shape and np.array_equal(inner, outer)

    @property
    def _whole(self):
        """ω as the losses see it."""
        return self.problem.whole(self.omega)

    def _rowwise(self, function, values, target):
        """function(v, t) for each replicate and sample; v in the shape that losses see."""
        if self.problem.n_outputs is None:
            scalar = function
            function = lambda v, t: scalar(v[0], t)  # noqa: E731
        over_samples = jax.vmap(function, (0, None if target is None else 0))
        return jax.vmap(over_samples, (0, None))(values, target)

    def inner_losses(self, values):
        """ℓ_in at (F, n, p) values: (F, n)."""
        loss = self.problem.inner_loss
        return self._rowwise(lambda v, t: loss(self._whole, v, t), values, self.inner.target)

    def inner_slopes(self, values):
        """∂_v ℓ_in at (F, n, p) values: (F, n, p)."""
        return _slopes(self.inner_losses, values)

    def inner_curvatures(self, values):
        """∂²_v ℓ_in at (F, n, p) values: (F, n, p, p)."""
        loss = self.problem.inner_loss
        p = values.shape[-1]
        if loss.constant_curvature:
            return jnp.broadcast_to(jnp.eye(p, dtype=values.dtype), (*values.shape, p))
        hessian = self._rowwise(
            jax.hessian(lambda v, t: loss(self._whole, v, t)), values, self.inner.target
        )
        return hessian.reshape(*values.shape, p)

    def inner_probabilities(self, values):
        """π (F, n, p) where the curvatures are diag π − ππᵀ, else None."""
        loss = self.problem.inner_loss
        if self.problem.n_outputs is None:
            return None
        return jax.vmap(jax.vmap(lambda v: loss.probabilities(self._whole, v)))(values)

    def outer_value(self, values):
        """(1/Σv) Σ v_j ℓ_out at (F, m, p) values, a scalar; the mean of a Joint over replicates."""
        weights = jnp.broadcast_to(self.outer.weight_matrix(), values.shape[:2])
        loss = self.problem.outer_loss
        if isinstance(loss, Joint):
            values = values[:, :, 0] if self.problem.n_outputs is None else values
            of_one = lambda v, w: loss(self._whole, v, self.outer.target, w)  # noqa: E731
            return jnp.mean(jax.vmap(of_one)(values, weights))
        return self.outer_sum(values) / jnp.sum(weights)

    def outer_sum(self, values):
        """Σ v_j ℓ_out at (F, m, p) values, a scalar."""
        loss = self.problem.outer_loss
        if isinstance(loss, Joint):
            raise ValueError(
                f"outer_loss={type(loss).__name__} needs all predictions at once, which a "
                "kbo.Stream of outer points cannot give: keep the outer points in memory"
            )
        losses = self._rowwise(lambda v, t: loss(self._whole, v, t), values, self.outer.target)
        weights = self.outer.weight_matrix()
        # A left-out point's loss may overflow: it must not turn a weight of zero into NaN.
        return jnp.sum(jnp.where(weights > 0, weights * jnp.where(weights > 0, losses, 0), 0))

    def penalty_value(self):
        """penalty(ω), zero where there is none."""
        penalty = self.problem.penalty
        return jnp.zeros((), self.dtype) if penalty is None else penalty(self.omega)

    def lagrangian(self, h_inner, h_outer, a_inner, inner_product):
        """Λ = L_out(h) + Σ_f [(1/Σw) Σ_i w_i a(x_i)·∂_v ℓ_in(ω, h(x_i), t_i) + ridge ⟨h, a⟩].

        Its derivative in ω, functions frozen, is the hypergradient; its value is L(ω) because
        the residual vanishes at the inner solution.

        Parameters
        ----------
        h_inner, a_inner : array (F, n, p)
        h_outer : array (F, m, p)
        inner_product : array (F,)
            ⟨h, a⟩_H.
        """
        total = jnp.sum(self.inner.weight_matrix(), -1)
        residual = self.inner_pairing(h_inner, a_inner) / total
        constraint = jnp.sum(residual + self.ridge * inner_product)
        return self.outer_value(h_outer) + self.penalty_value() + constraint

    def inner_pairing(self, h_inner, a_inner):
        """Σ_i w_i a(x_i)·∂_v ℓ_in(ω, h(x_i), t_i), (F,)."""
        # The slope of a left-out point may overflow: it must not turn a weight of zero into NaN.
        weights = self.inner.weight_matrix()
        h_inner = jnp.where(weights[:, :, None] > 0, h_inner, 0)
        pairing = jnp.sum(a_inner * self.inner_slopes(h_inner), -1)
        return jnp.sum(weights * pairing, -1)


def of_instance(function=None, *, donate=False):
    """Compile a function whose first argument is an Instance (see kbo.programs.program).

    Inside, the instance is made anew from the problem and ω.
    """
    if function is None:
        return functools.partial(of_instance, donate=donate)

    @functools.wraps(function)
    def inside(instance, *args):
        return function(instance.at(instance.omega), *args)

    return program(inside, donate=donate)


def _slopes(losses, values):
    """Each loss depends on its own value alone, so one reverse pass gives every slope."""
    return jax.grad(lambda v: jnp.sum(losses(v)))(values)
