"""Declarations of the targets that a loss accepts, and what is wrong with other targets."""

from __future__ import annotations

import abc

import numpy as np


class Targets(abc.ABC):
    """The shape of one sample's target, and the values that it may have."""

    def fault(self, targets, n_outputs) -> str | None:
        """What is wrong with targets (n, …) for predictions of ``n_outputs``, or None."""
        targets = np.asarray(targets)
        wrong_shape = self._wrong_shape(targets.shape[1:], n_outputs)
        return wrong_shape or self._wrong_value(targets, n_outputs)

    def _wrong_shape(self, shape, n_outputs):
        size, p = int(np.prod(shape)), n_outputs or 1
        if size == p and len(shape) <= 1:
            return None
        wanted = "a number" if n_outputs is None else f"{p} numbers"
        remedy = f"n_outputs={size}" if n_outputs is None else f"targets of shape (n, {p})"
        return (
            f"the target of a sample has shape {shape}, and the loss takes {wanted}: give {remedy}"
        )

    @abc.abstractmethod
    def _wrong_value(self, targets, n_outputs) -> str | None:
        """As ``fault``, for targets of the right shape."""


class Real(Targets):
    """One real number for each output."""

    def _wrong_value(self, targets, n_outputs):
        if np.issubdtype(targets.dtype, np.complexfloating):
            return "targets are complex, and the loss takes real numbers"
        return None


class Signs(Real):
    """−1 or +1 for each output."""

    def _wrong_value(self, targets, n_outputs):
        good = np.isin(targets, (-1, 1))
        if good.all():
            return None
        return (
            f"targets hold {_first(targets, ~good)}, and the loss takes -1 and +1: for labels 0 "
            "and 1 give 2 * labels - 1"
        )


class Counts(Real):
    """One non-negative number for each output."""

    def _wrong_value(self, targets, n_outputs):
        wrong = super()._wrong_value(targets, n_outputs)
        if wrong is not None or (targets >= 0).all():
            return wrong
        return (
            f"targets hold {_first(targets, targets < 0)}, and the loss takes counts, which are "
            "not negative"
        )


class Classes(Targets):
    """One integer 0 … p − 1, shared by all p outputs."""

    def _wrong_shape(self, shape, n_outputs):
        if n_outputs is None or n_outputs < 2:
            return f"n_outputs={n_outputs}, and the loss needs as many outputs as classes"
        if int(np.prod(shape)) != 1 or shape:
            return (
                f"the target of a sample has shape {shape}, and the loss takes one integer, the "
                "class: give targets of shape (n,)"
            )
        return None

    def _wrong_value(self, targets, n_outputs):
        good = (targets == np.floor(targets)) & (targets >= 0) & (targets < n_outputs)
        if good.all():
            return None
        return (
            f"targets hold {_first(targets, ~good)}, and the loss takes the classes 0 to "
            f"{n_outputs - 1}: number them so, or change n_outputs"
        )


def _first(targets, wrong):
    return f"{targets[wrong].ravel()[0]} (row {np.argwhere(wrong)[0][0]})"
