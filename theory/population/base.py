"""Infinite-sample bilevel problems: exact value and gradient, and samples from them."""

from __future__ import annotations

import abc

import numpy as np

import kbo

from ..checks import box as checked_box
from ..checks import point, stream


class Population(abc.ABC):
    """L and ∇L in the limit n, m → ∞ at a fixed ridge, with a bound on their error.

    Sums over samples become expectations::

        h*_ω = argmin_h E ℓ_in(ω, h(x), t) + (ridge/2)‖h‖²      L(ω) = E ℓ_out(ω, h*_ω(x'), y)

    Attributes
    ----------
    name : str
    size : int
        q, the number of entries of ω.
    box : pair of ndarray (q,)
        Lower and upper corner of the compact Ω.
    quadratic : bool
        Whether L, and its estimate from any sample, are quadratic functions of ω.
    outside : tuple of str
        The assumptions of Theorem 4.1 (El Khoury et al. 2025) that the problem does not meet.
    error_bound : float
        Bound on ``|L − value|`` and on each entry of ``|∇L − gradient|``, for ω in the box.
    """

    name: str
    size: int
    box: tuple[np.ndarray, np.ndarray]
    quadratic: bool = False
    outside: tuple[str, ...] = ()
    error_bound: float

    @abc.abstractmethod
    def value_and_grad(self, omega) -> tuple[float, np.ndarray]:
        """L(ω) and ∇L(ω), (q,)."""

    @abc.abstractmethod
    def sample(self, n, m, random_state) -> kbo.BilevelProblem:
        """The empirical problem on n inner and m outer samples.

        Parameters
        ----------
        n, m : int
        random_state : int, Generator or SeedSequence
        """

    @abc.abstractmethod
    def points(self, n, random_state) -> np.ndarray:
        """n inner points without targets, (n, p), drawn by ``random_state`` as in ``sample``."""

    @property
    def in_rkhs(self) -> bool:
        """Whether h is in the RKHS of the kernel, so that its norm there is known."""
        return self.quadratic

    def start(self, random_state) -> np.ndarray:
        """A point drawn uniformly from the box, independently of all other uses of the seed.

        ``random_state`` is as in ``sample``.
        """
        return stream("start", random_state).uniform(*self.box)

    def _enter(self, box, outside=()):
        """Set ``box``, ``size`` and ``outside``."""
        self.box = checked_box("box", box)
        self.size, self.outside = len(self.box[0]), tuple(outside)

    def _checked(self, omega) -> np.ndarray:
        """ω as an array; ValueError unless it is a point of ℝ^q."""
        return point("omega", omega, self.size)
