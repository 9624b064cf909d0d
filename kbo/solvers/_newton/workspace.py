"""Memory and warm starts that one solve leaves to the next."""

from __future__ import annotations

from ... import linalg


class Workspace:
    """Memory and warm starts carried from one solve to the next.

    Attributes
    ----------
    arena : kbo.linalg.Arena
        Memory for the factors.
    gram : jax.Array or None
        The last kernel matrix; its buffer is donated to the next one.
    start : ndarray or None
        The start of the next inner solve: values at the inner points (F, n, p), or coefficients
        (F, N, p) if the system has ``from_coefficients``.
    adjoint_start : ndarray or None
        Coefficients from which the next adjoint solve starts, if the system uses them.
    """

    def __init__(self, start=None, adjoint_start=None):
        self.arena, self.gram = linalg.Arena(), None
        self.start, self.adjoint_start = start, adjoint_start

    def starts(self):
        """Arguments for a Workspace with the same warm starts; None if there are none."""
        return None if self.start is None else [self.start, self.adjoint_start]
