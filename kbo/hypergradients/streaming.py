"""The reverse pass of Λ over points on disk: a sum of reverse passes over blocks of rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..problem import Sample
from ..programs import program
from ..spaces import Frozen
from ..stream import Stream

BLOCK = 8192


@program
def _whole_part(problem, omega, frozen):
    """What no point enters, and its ∂_ω: ridge ⟨h, a⟩ and the penalty."""

    def part(omega):
        instance = problem.at(omega)
        product = instance.space.inner_product(frozen.h, frozen.a)
        return jnp.sum(instance.ridge * product) + instance.penalty_value()

    return jax.value_and_grad(part)(omega)


@program
def _inner_part(problem, omega, sample, frozen, total):
    """Σ_f (1/Σw) Σ_i w_i a(x_i)·∂_v ℓ_in over the rows of a sample, and its ∂_ω."""

    def part(omega):
        instance = problem.replace(inner_data=sample).at(omega)
        parts = instance.space.evaluations(instance.inner, None, frozen, True)
        return jnp.sum(instance.inner_pairing(parts.h_inner, parts.a_inner) / total)

    return jax.value_and_grad(part)(omega)


@program
def _outer_part(problem, omega, sample, frozen, total):
    """(1/Σv) Σ_j v_j ℓ_out over the rows of a sample, and its ∂_ω."""

    def part(omega):
        instance = problem.replace(outer_data=sample).at(omega)
        parts = instance.space.evaluations(instance.outer, None, frozen, True)
        return instance.outer_sum(parts.h_inner) / total

    return jax.value_and_grad(part)(omega)


def streamed_reverse_pass(problem, omega, frozen):
    """Λ(ω; h, a) and its ∂_ω for problems whose points may be Streams."""
    F = frozen.h.shape[0]
    total_and_grad = _whole_part(problem, omega, frozen)
    passes = (
        (problem.inner_data, frozen.h_inner, frozen.a_inner, _inner_part, 1),
        (problem.outer_data, frozen.h_outer, None, _outer_part, None),
    )
    for sample, h, a, part, axis in passes:
        weights = np.broadcast_to(np.asarray(sample.weight_matrix()), (F, sample.size))
        total = weights.sum(axis)
        for rows in _blocks(sample.size):
            held = Frozen(frozen.h, frozen.a, h[:, rows], None, a if a is None else a[:, rows])
            added = part(problem, omega, _some(sample, weights, rows), held, total)
            total_and_grad = jax.tree.map(jnp.add, total_and_grad, added)
    return total_and_grad


def _blocks(n):
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def _some(sample, weights, rows):
    """The sample of some rows, in memory."""
    x = sample.x
    x = x.read(rows.start, rows.stop) if isinstance(x, Stream) else x[rows]
    return Sample(x, jax.tree.map(lambda leaf: leaf[rows], sample.target), weights[:, rows])
