"""Checks of users' arguments, and the precision and device that estimators compute with."""

from __future__ import annotations

import contextlib

import jax
import numpy as np
from sklearn.utils.validation import _check_sample_weight

from ...arithmetic import arithmetic
from ...losses import Loss


@contextlib.contextmanager
def computing(device):
    """Compute in float64 on the given device, whatever the process-wide JAX settings are.

    Raises
    ------
    ValueError
        For an unknown device name, or a device that JAX does not see.
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
    """``sample_weight`` as float64 weights (n,), all one if it is None.

    Raises
    ------
    ValueError
        If a weight is negative, or all are zero.
    """
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.sum() > 0:
        raise ValueError("sample_weight is all zero: give some sample a positive weight")
    return weight


def loss_by_name(value, named, argument) -> Loss:
    """The loss for a name in ``named``; a Loss or a callable ℓ(ω, v, t) is returned as it is.

    Raises
    ------
    ValueError
        For anything else; the message names the ``argument``.
    """
    if isinstance(value, str) and value in named:
        return named[value]()
    if callable(value) and not isinstance(value, type):
        return value
    raise ValueError(
        f"{argument}={value!r} must be one of {sorted(named)}, a kbo.losses.Loss, or a callable "
        "loss(omega, prediction, target)"
    )
