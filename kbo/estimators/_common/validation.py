"""Checks of users' arguments, and the precision and device that estimators compute with."""

from __future__ import annotations

import contextlib

import jax
import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import _check_sample_weight

from ...arithmetic import arithmetic
from ...losses import Loss

LARGEST = 1e100  # of targets; the largest float64 is not far from sums of such squares


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


def check_labels(name, values):
    """``values`` as an array of labels, none of which is missing; None stays None.

    Raises
    ------
    ValueError
        If a label is missing; the message names its row.
    """
    if values is None:  # which scikit-learn refuses
        return None
    labels = np.asarray(values)
    if labels.dtype.kind == "O":
        for row, label in enumerate(labels.ravel()):
            absent = label is None or type(label).__name__ in ("NAType", "NaTType")
            if absent or (isinstance(label, float) and np.isnan(label)):
                raise ValueError(f"{name} has no label in row {row}: leave such rows out")
    return labels


def check_groups(groups, X):
    """Labels of groups of the rows of X, (n,); ValueError for another shape or missing ones.

    None stays None.
    """
    if groups is None:
        return None
    groups = column_or_1d(check_labels("groups", groups))
    check_consistent_length(X, groups)
    return groups


def refuse_text(y):
    """ValueError if targets of a regressor are text."""
    if np.asarray(y).dtype.kind in "US" and np.size(y):
        raise ValueError(
            f"y holds text, such as {str(np.ravel(y)[0])!r}: KernelBilevelClassifier is for "
            "labels; numbers written as text are read by y.astype(float)"
        )


def refuse_negative(y):
    """ValueError if counts (n,) or (n, p) have a negative number; the message names its row."""
    rows = np.unique(np.argwhere(y < 0)[:, 0])
    if len(rows):
        raise ValueError(f"loss='poisson' needs targets that are not negative: row {rows[0]} is")


def check_size(y):
    """Targets ``y``; ValueError if their squares exceed float64."""
    largest = np.abs(y).max(initial=0.0)
    if largest > LARGEST:
        raise ValueError(
            f"y has a value of {largest:.3g}, too large to be squared in float64: divide y by a "
            "number of that size"
        )
    return y


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
