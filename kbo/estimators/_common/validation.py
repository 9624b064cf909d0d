"""Checks of what users pass in, and the precision that estimators compute in."""

from __future__ import annotations

import contextlib

import jax
import numpy as np
from sklearn.utils.validation import _check_sample_weight

from ...arithmetic import arithmetic
from ...losses import Loss


@contextlib.contextmanager
def computing(device):
    """float64 on the device asked for, whatever the process-wide settings.

    Raises
    ------
    ValueError
        For an unknown device name, or a GPU where JAX sees none.
    """
    if device not in (None, "cpu", "gpu"):
        raise ValueError(f"device={device!r} must be None, 'cpu' or 'gpu'")
    with arithmetic(double=True):
        if device is None:
            yield
            return
        try:
            chosen = jax.devices(device)[0]
        except RuntimeError as error:
            raise ValueError(
                f"device={device!r} but JAX sees no such device: install a GPU build of jaxlib, "
                "or use device=None"
            ) from error
        with jax.default_device(chosen):
            yield


def check_weights(sample_weight, X) -> np.ndarray:
    """Non-negative float64 weights with a positive sum.

    Raises
    ------
    ValueError
        Otherwise.
    """
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.sum() > 0:
        raise ValueError("sample_weight is all zero: give some sample a positive weight")
    return weight


def as_loss(value, named, argument) -> Loss:
    """A loss by name, a Loss, or a callable ℓ(ω, v, t).

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(value, str) and value in named:
        return named[value]()
    if callable(value) and not isinstance(value, type):
        return value
    raise ValueError(
        f"{argument}={value!r} must be one of {sorted(named)}, a kbo.losses.Loss, or a callable "
        "loss(omega, prediction, target)"
    )
