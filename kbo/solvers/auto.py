"""The choice among solvers by size."""

from __future__ import annotations

import numpy as np

from ..spaces import RKHS
from .base import Solver
from .centers import Uniform
from .exact import Exact
from .falkon import Falkon
from .nystrom import Nystrom

EXACT_POINTS = 3000  # five folds of them take under a second each
DIRECT_CENTERS = 4000  # from here on conjugate gradients are sooner done than nM² operations


class Auto(Solver):
    """Exact up to 3,000 points; above, Nystrom with up to 4,000 uniform centres, then Falkon.

    ``str`` of the solver in a result says which it was.

    Parameters
    ----------
    n_centers : int or None
        M, as in kbo.solvers.centers.Uniform. Giving it asks for centres whatever n.
    seed : int
        Of the centres.
    """

    n_centers: int | None = None
    seed: int = 0

    def fixed(self, instance):
        """The solver chosen for the size of this instance."""
        n = int(np.count_nonzero(np.asarray(instance.inner.weight_matrix()).any(0)))
        few = n <= EXACT_POINTS and self.n_centers is None and not instance.problem.streamed
        if few or not isinstance(instance.space, RKHS):
            return Exact()
        centers = Uniform(self.n_centers, self.seed)
        kind = Nystrom if centers.count(n) <= DIRECT_CENTERS else Falkon
        return kind(centers).fixed(instance)

    def solve(self, instance, state=None):
        """The inner solution, and what its adjoint needs."""
        chosen = self.fixed(instance)
        return chosen.solve(chosen.restrict(instance.problem).at(instance.omega), state)

    def warm_start(self, state):
        """What the chosen solver stores."""
        return Exact().warm_start(state)
