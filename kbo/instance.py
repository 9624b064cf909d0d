"""A problem at one ω: its losses, their derivatives and the Lagrangian Λ, but no algorithm."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .arithmetic import is_traced
from .losses import Joint
from .programs import program
from .stream import Stream

PARTS = ("inner", "outer", "space", "ridge", "dtype", "n_outputs")


@jax.tree_util.register_pytree_node_class
class Instance:
    """A problem at one ω: the samples, space and ridge (F,) that solvers and Λ use.

    Values of functions on n points have shape (F, n, p) here, with p = 1 for scalar predictions.
    As a pytree it consists of the problem and ω. A compiled function (see ``of_instance``)
    evaluates the rest from ω itself, so that it can be differentiated in ω and works for every ω.

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree
        The floating-point leaves of ω.
    inner, outer : Sample
    space : Space
    ridge : array (F,)

    Attributes
    ----------
    dtype : dtype
        The dtype of the inner points, in which losses and Λ are evaluated.
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
        """An instance without the parts that depend on ω: __getattr__ evaluates them on demand."""
        bare = object.__new__(cls)
        bare.problem, bare.omega = children
        return bare

    def __getattr__(self, name):
        """A part that depends on ω, for an instance that came out of a pytree or a pickle."""
        if name in PARTS:
            return getattr(self.problem.at(self.omega), name)
        raise AttributeError(f"an Instance has no attribute {name!r}")

    def __reduce__(self):
        return Instance.tree_unflatten, (None, (self.problem, self.omega))

    def __repr__(self):
        return f"Instance({self.problem!r}, {self.omega!r})"

    def at(self, omega) -> Instance:
        """The same problem at another ω."""
        return self.problem.at(omega)

    def replace(self, **changes) -> Instance:
        """The problem with some fields changed, at the same ω."""
        return self.problem.replace(**changes).at(self.omega)

    def with_samples(self, inner, outer) -> Instance:
        """The same problem and ω with other samples, such as batches.

        Do not pass the result to a compiled function: as a pytree it has the whole samples again.
        """
        return Instance(self.problem, self.omega, inner, outer, self.space, self.ridge)

    @functools.cached_property
    def shared(self) -> bool:
        """Whether both samples are at the same points, so that one kernel matrix serves both."""
        inner, outer = self.inner.x, self.outer.x
        constant = not (callable(self.problem.inner_data) or callable(self.problem.outer_data))
        if inner is outer or not constant:
            return inner is outer
        if isinstance(inner, Stream) or isinstance(outer, Stream) or is_traced((inner, outer)):
            return False
        return inner.shape == outer.shape and np.array_equal(inner, outer)

    @property
    def _whole(self):
        """ω with all its leaves, as the losses expect it."""
        return self.problem.whole(self.omega)

    def _rowwise(self, function, values, target):
        """function(v, t) for each replicate and sample, with v in the shape that losses expect."""
        if self.problem.n_outputs is None:
            scalar = function
            function = lambda v, t: scalar(v[0], t)  # noqa: E731
        over_samples = jax.vmap(function, (0, None if target is None else 0))
        return jax.vmap(over_samples, (0, None))(values, target)

    def inner_losses(self, values):
        """The inner losses ℓ_in(ω, v_i, t_i), (F, n), at values v (F, n, p)."""
        loss = self.problem.inner_loss
        return self._rowwise(lambda v, t: loss(self._whole, v, t), values, self.inner.target)

    def inner_slopes(self, values):
        """∂_v ℓ_in, (F, n, p), at values v (F, n, p)."""
        return _slopes(self.inner_losses, values)

    def inner_curvatures(self, values):
        """∂²_v ℓ_in, (F, n, p, p), at values v (F, n, p)."""
        loss = self.problem.inner_loss
        p = values.shape[-1]
        if loss.constant_curvature:
            return jnp.broadcast_to(jnp.eye(p, dtype=values.dtype), (*values.shape, p))
        hessian = self._rowwise(
            jax.hessian(lambda v, t: loss(self._whole, v, t)), values, self.inner.target
        )
        return hessian.reshape(*values.shape, p)

    def inner_probabilities(self, values):
        """π (F, n, p) if the curvatures of the loss are diag(π) − ππᵀ, else None."""
        loss = self.problem.inner_loss
        if self.problem.n_outputs is None:
            return None
        return jax.vmap(jax.vmap(lambda v: loss.probabilities(self._whole, v)))(values)

    def outer_value(self, values):
        """(1/Σv) Σ v_j ℓ_out at values (F, m, p), a scalar; a Joint's mean over replicates."""
        weights = jnp.broadcast_to(self.outer.weight_matrix(), values.shape[:2])
        loss = self.problem.outer_loss
        if isinstance(loss, Joint):
            values = values[:, :, 0] if self.problem.n_outputs is None else values
            of_one = lambda v, w: loss(self._whole, v, self.outer.target, w)  # noqa: E731
            return jnp.mean(jax.vmap(of_one)(values, weights))
        return self.outer_sum(values) / jnp.sum(weights)

    def outer_sum(self, values):
        """Σ v_j ℓ_out at values (F, m, p), a scalar; raises a ValueError for a Joint."""
        loss = self.problem.outer_loss
        if isinstance(loss, Joint):
            raise ValueError(
                f"outer_loss={type(loss).__name__} needs all predictions at once, which a "
                "kbo.Stream of outer points cannot give: keep the outer points in memory"
            )
        at = lambda v: self._rowwise(  # noqa: E731
            lambda v, t: loss(self._whole, v, t), v, self.outer.target
        )
        kept, values = _kept(self.outer, at, values)
        return jnp.sum(jnp.where(kept, self.outer.weight_matrix() * at(values), 0))

    def penalty_value(self):
        """penalty(ω), or zero if there is none."""
        penalty = self.problem.penalty
        return jnp.zeros((), self.dtype) if penalty is None else penalty(self.omega)

    def lagrangian(self, h_inner, h_outer, a_inner, inner_product, regularization=0.0):
        """Λ = L(ω; h) + Σ_f [(1/Σw) Σ_i w_i a(x_i)·∂_v ℓ_in(ω, h(x_i), t_i) + ridge ⟨h, a⟩_H].

        L(ω; h) is the outer value at h plus the penalty. At the inner and adjoint solutions, the
        derivative of Λ in ω with h and a held fixed is the hypergradient, and its value is L(ω),
        since the bracket vanishes.

        Parameters
        ----------
        h_inner, a_inner : array (F, n, p)
        h_outer : array (F, m, p)
        inner_product : array (F,)
            ⟨h, a⟩_H of each replicate.
        regularization : array (F,)
            a·∂R(h), which is added where the inner objective has a regularizer R.
        """
        total = jnp.sum(self.inner.weight_matrix(), -1)
        residual = self.inner_pairing(h_inner, a_inner) / total
        constraint = jnp.sum(residual + self.ridge * inner_product + regularization)
        return self.outer_value(h_outer) + self.penalty_value() + constraint

    def inner_pairing(self, h_inner, a_inner):
        """Σ_i w_i a(x_i)·∂_v ℓ_in(ω, h(x_i), t_i), (F,)."""
        kept, h_inner = self.inner_kept(h_inner)
        pairing = jnp.sum(a_inner * self.inner_slopes(h_inner), -1)
        return jnp.sum(jnp.where(kept, self.inner.weight_matrix() * pairing, 0), -1)

    def inner_kept(self, values):
        """Which points take part in sums, (F, n), and ``values`` that are harmless elsewhere.

        The inner loss of a point of weight zero may overflow, and must not turn it into NaN.
        """
        return _kept(self.inner, self.inner_losses, values)


def of_instance(function=None, *, donate=False, nested=False):
    """Compile a function whose first argument is an Instance (see kbo.programs.program).

    Inside, the parts of the instance that depend on ω are evaluated again from the problem and ω.
    """
    if function is None:
        return functools.partial(of_instance, donate=donate, nested=nested)

    @functools.wraps(function)
    def inside(instance, *args):
        return function(instance.at(instance.omega), *args)

    return program(inside, donate=donate, nested=nested)


def _kept(sample, losses, values):
    """See ``Instance.inner_kept``. Weights of zero may depend on ω: sums need their slopes too."""
    if sample.weights is None:
        return jnp.ones((), bool), values
    there = jax.lax.stop_gradient(values)
    finite = jnp.isfinite(losses(there)) & jnp.isfinite(_slopes(losses, there)).all(-1)
    kept = (sample.weight_matrix() > 0) | finite
    return kept, jnp.where(kept[:, :, None], values, 0)


def _slopes(losses, values):
    """Each loss depends on its own value alone, so one reverse pass gives all the slopes."""
    return jax.grad(lambda v: jnp.sum(losses(v)))(values)
