"""The interface of a space, which supplies the ingredients of Λ with h and a frozen."""

from __future__ import annotations

import abc
from typing import NamedTuple

import jax

from ..module import Module


class Frozen(NamedTuple):
    """h and a, held fixed while ω moves, and the values they are known to take.

    Attributes
    ----------
    h, a : arrays
        The space's own representation (RKHS: coefficients of h and *values* of a).
    h_inner, h_outer : array (F, n, p), (F, m, p)
        Values of h at the present ω, so that differentiation need not compute them again.
    a_inner : array (F, n, p) or None
        Values of a at the present ω, where ``a`` holds coefficients.
    gram : array or None
        The kernel matrix of the inner points at the present ω, as written by ``kbo.linalg``, if it
        is still known.
    """

    h: jax.Array
    a: jax.Array
    h_inner: jax.Array
    h_outer: jax.Array
    a_inner: jax.Array | None = None
    gram: jax.Array | None = None


class Evaluations(NamedTuple):
    """h on both samples, a on the inner one, and ⟨h, a⟩_H, as functions of ω.

    Attributes
    ----------
    h_inner, h_outer, a_inner : array (F, n, p), (F, m, p), (F, n, p)
    inner_product : array (F,)
        ⟨h, a⟩_H.
    regularization : array (F,) or 0
        a·∂R(h) where the inner objective has a regularizer R.
    """

    h_inner: jax.Array
    h_outer: jax.Array
    a_inner: jax.Array
    inner_product: jax.Array
    regularization: jax.Array | float = 0.0


class Space(Module):
    """A space of functions from points (d,) to R^p.

    Attributes
    ----------
    centers : array (M, d) or None
        The points whose kernel functions span the space; None if these are the inner points, or if
        there are none.
    mesh : jax.sharding.Mesh or None
        Devices over which the rows of the space's matrices are spread.
    """

    centers = None
    mesh = None

    @abc.abstractmethod
    def evaluate(self, points, x, coefficients) -> jax.Array:
        """Values (F, k, p), at points x (k, d), of the functions that ``coefficients`` represent.

        ``points`` (N, d) are the points that the coefficients belong to, if the space needs any.
        """

    def on(self, points, x):
        """coefficients ↦ ``evaluate(points, x, coefficients)``, for repeated use.

        What does not depend on the coefficients is computed once.
        """
        return lambda coefficients: self.evaluate(points, x, coefficients)

    @abc.abstractmethod
    def square_norm(self, inner, coefficients, values, total=None) -> jax.Array:
        """‖h‖² (F,) of the function with ``coefficients`` and ``values`` (F, n, p) at inner points.

        If the norm is a mean over these points, weighted sums are divided by ``total`` (F,), by
        default the sum of the weights.
        """

    @abc.abstractmethod
    def start(self, key, inner, p, replicates):
        """Coefficients for a solver to start from: zero if h is linear in them, else random.

        Parameters
        ----------
        key : PRNG key
            For what is drawn.
        inner : Sample
        p, replicates : int
            Outputs, and replicates F.
        """

    @abc.abstractmethod
    def evaluations(self, inner, outer, frozen: Frozen, shared=False) -> Evaluations:
        """Λ's ingredients on two samples, for h and a of a Frozen.

        Parameters
        ----------
        inner, outer : Sample
        frozen : Frozen
        shared : bool
            Whether both samples have the same points.
        """


def replicates_last(coefficients):
    """(F, n, p) as (n, F·p), so that one matrix product serves every replicate and output."""
    F, n, p = coefficients.shape
    return coefficients.transpose(1, 0, 2).reshape(n, F * p)


def replicates_first(values, replicates):
    """(n, F·p) as (F, n, p)."""
    return values.reshape(values.shape[0], replicates, -1).transpose(1, 0, 2)
