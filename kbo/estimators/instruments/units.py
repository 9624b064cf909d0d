"""Kernels of instrumental-variable regression: their start values, and the user's units."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from ...arithmetic import arrays
from ...kernels import NAMED, OnFeatures
from ...parameters import Tunable
from ...programs import program
from .._common.folds import bucket, pad
from .second_stage import TreatmentKernel


def named_kernel(name, size, ard):
    """The tunable kernel of ``size`` standardised columns; its lengthscale starts at √size."""
    return Tunable.of(_named(name, size, ard, size), ("lengthscale",))


def _named(name, size, ard, total):
    length = np.sqrt(float(total))
    return NAMED[name](lengthscale=np.full(size, length) if ard else np.array(length))


def treatment_kernel(name, ard, exogenous):
    """The tunable k_E·k_O at its start; ``exogenous`` (d,) marks the columns of k_O."""
    parts = [np.flatnonzero(~exogenous), np.flatnonzero(exogenous)]
    kernel = TreatmentKernel(*[
        OnFeatures(_named(name, len(columns), ard, len(exogenous)), columns)
        if len(columns) else None
        for columns in parts
    ])
    return Tunable.of(kernel, ("lengthscale",))


def in_units(kernel, scale):
    """The kernel of standardised points, rescaled to points in the user's units."""
    return eqx.tree_at(lambda k: k.lengthscale, kernel, kernel.lengthscale * scale)


def treatment_in_units(kernel, scale):
    """A TreatmentKernel rescaled to the user's units, and its lengthscales (d,)."""
    lengthscale, parts = np.empty(len(scale)), [kernel.endogenous, kernel.exogenous]
    for k, part in enumerate(parts):
        if part is not None:
            columns = list(part.columns)
            own = in_units(part.kernel, scale[columns])
            parts[k] = OnFeatures(own, part.columns)
            lengthscale[columns] = own.lengthscale
    return TreatmentKernel(*parts), lengthscale


@program
def _mean_derivative(kernel, anchors, coefficients, X, weight):
    value = lambda x: jax.vmap(lambda c: kernel.evaluate(x, c))(anchors) @ coefficients  # noqa: E731
    return weight @ jax.lax.map(jax.grad(value), X, batch_size=512)


def mean_derivative(kernel, anchors, coefficients, X, share):
    """Σ_i share_i ∂h/∂x(x_i), (d,), for h = Σ_m coefficients_m k(anchors_m, ·)."""
    size, width = bucket(len(X)), bucket(len(anchors))
    mean = _mean_derivative(
        arrays(kernel, np.float64), pad(anchors, width),
        np.pad(coefficients, (0, width - len(anchors))),
        pad(X, size), np.pad(share, (0, size - len(X))),
    )
    return np.array(mean)
