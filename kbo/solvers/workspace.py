"""Memory and warm start that one solve leaves to the next."""

from __future__ import annotations

import numpy as np

from .. import linalg


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

    def __init__(self, stored=None):
        self.arena, self.gram, self.start, self.adjoint_start = linalg.Arena(), None, stored, None
        if np.ndim(stored) == 4:
            self.start, self.adjoint_start = stored

    def stored(self):
        """The array from which the constructor makes as warm a start, or None."""
        if self.adjoint_start is None:
            return self.start
        return np.stack([self.start, self.adjoint_start])
