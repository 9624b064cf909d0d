"""Memory and warm start that one solve leaves to the next."""

from __future__ import annotations

from ... import linalg


class Workspace:
    """Memory and warm start carried from one solve to the next.

    Attributes
    ----------
    arena : kbo.linalg.Arena
        For the factors.
    gram : jax.Array or None
        The last kernel matrix; its buffer is donated to the next one.
    start : ndarray or None
        What the next inner solve starts from: values at the inner points (F, n, p), or
        coefficients, as the system prefers.
    adjoint_start : ndarray or None
        Coefficients, where the system starts from them.
    """

    def __init__(self, start=None, adjoint_start=None):
        self.arena, self.gram = linalg.Arena(), None
        self.start, self.adjoint_start = start, adjoint_start

    def starts(self):
        """What the constructor makes as warm a start from, or None."""
        return None if self.start is None else [self.start, self.adjoint_start]
