"""The equations of an instance, whose ω and samples JAX may be tracing."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from ...spaces import FeatureSpace
from .equations import Pointwise
from .factors import Triangle
from .features import FeatureEquations
from .kernel import KernelEquations


def kernel_equations(instance) -> KernelEquations:
    """Those of an RKHS."""
    x = instance.inner.x
    # What the matrix is made of is not kept for the reverse pass, which evaluates it again.
    gram = jax.checkpoint(lambda x: instance.space.kernel.matrix(x, x))(x)
    return KernelEquations(**_shared_parts(instance), gram=gram)


def feature_equations(instance) -> FeatureEquations:
    """Those of a FeatureSpace, or of a Subspace in the coefficients of its centres."""
    space, x = instance.space, instance.inner.x
    if isinstance(space, FeatureSpace):
        return FeatureEquations(**_shared_parts(instance), rows=space.features(x))
    rows = jax.checkpoint(lambda x, z: space.kernel.matrix(x, z))(x, space.centers)
    metric = space.gram()
    # The metric has its own jitter already, which is part of the norm.
    lower = jax.lax.linalg.cholesky(jax.lax.stop_gradient(metric), symmetrize_input=False)
    root = Triangle(lower, jnp.zeros((), lower.dtype))
    return FeatureEquations(**_shared_parts(instance), rows=rows, metric=metric, root=root)


def _shared_parts(instance):
    def pointwise(values):
        kept, values = instance.inner_kept(values)
        found = Pointwise(
            instance.inner_losses(values), instance.inner_slopes(values),
            instance.inner_curvatures(values),
        )
        kept = jnp.broadcast_to(kept, values.shape[:2])
        return jax.tree.map(
            lambda part: jnp.where(kept.reshape(kept.shape + (1,) * (part.ndim - 2)), part, 0),
            found,
        )

    F, p, dtype = instance.ridge.shape[0], instance.n_outputs, instance.dtype
    n = instance.inner.size
    weights = jnp.broadcast_to(instance.inner.weight_matrix(), (F, n))
    return {
        # JAX differentiates a function with a rule of its own in its arguments alone. Here what the
        # losses close over becomes one of them.
        "pointwise": eqx.filter_closure_convert(pointwise, jnp.zeros((F, n, p), dtype)),
        "weights": weights,
        "ridge": instance.ridge,
        "n_outputs": p,
        "quadratic": instance.problem.inner_loss.constant_curvature,
        "even": instance.inner.weights is None,
    }
