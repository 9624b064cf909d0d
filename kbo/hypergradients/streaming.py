"""The reverse pass of Λ over points on disk: a sum of reverse passes over blocks of rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..instance import of_instance
from ..problem import Sample
from ..spaces import Frozen
from ..stream import Stream

BLOCK = 8192


@of_instance
def _whole_part(instance, frozen):
    """Σ_f ridge ⟨h, a⟩ + penalty, the terms of Λ that need no sample, and their ∂_ω."""

    def part(omega):
        at = instance.at(omega)
        product = at.space.inner_product(frozen.h, frozen.a)
        return jnp.sum(at.ridge * product) + at.penalty_value()

    return jax.value_and_grad(part)(instance.omega)


@of_instance
def _inner_part(instance, sample, frozen, total):
    """Σ_f (1/Σw) Σ_i w_i a(x_i)·∂_v ℓ_in over the rows of a sample, and its ∂_ω."""

    def part(omega):
        at = problem.at(omega)
        parts = at.space.evaluations(at.inner, None, frozen, True)
        return jnp.sum(at.inner_pairing(parts.h_inner, parts.a_inner) / total)

    problem = instance.problem.replace(inner_data=sample)
    return jax.value_and_grad(part)(instance.omega)


@of_instance
def _outer_part(instance, sample, frozen, total):
    """(1/Σv) Σ_j v_j ℓ_out over the rows of a sample, and its ∂_ω."""

    def part(omega):
        at = problem.at(omega)
        parts = at.space.evaluations(at.outer, None, frozen, True)
        return at.outer_sum(parts.h_inner) / total

    problem = instance.problem.replace(outer_data=sample)
    return jax.value_and_grad(part)(instance.omega)


def streamed_reverse_pass(instance, frozen):
    """Λ(ω; h, a) and its ∂_ω, for problems whose points may be Streams."""
    F = frozen.h.shape[0]
    total_and_grad = _whole_part(instance, frozen)
    passes = (
        (instance.inner, frozen.h_inner, frozen.a_inner, _inner_part, 1),
        (instance.outer, frozen.h_outer, None, _outer_part, None),
    )
    for sample, h, a, part, axis in passes:
        weights = np.broadcast_to(np.asarray(sample.weight_matrix()), (F, sample.size))
        total = weights.sum(axis)
        for rows in _blocks(sample.size):
            held = Frozen(frozen.h, frozen.a, h[:, rows], None, a if a is None else a[:, rows])
            added = part(instance, _some(sample, weights, rows), held, total)
            total_and_grad = jax.tree.map(jnp.add, total_and_grad, added)
    return total_and_grad


def _blocks(n):
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def _some(sample, weights, rows):
    """Some rows of a sample, in memory."""
    x = sample.x
    x = x.read(rows.start, rows.stop) if isinstance(x, Stream) else x[rows]
    return Sample(x, jax.tree.map(lambda leaf: leaf[rows], sample.target), weights[:, rows])
