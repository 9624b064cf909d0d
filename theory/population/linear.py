"""Populations in closed form: squared losses, with inner targets linear in ω."""

from __future__ import annotations

from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

import kbo

from ..checks import positive, stream
from ..quadratic import Quadratic
from .base import Population


def inner_loss(omega, prediction, features):
    """½(h(x) − φᵀω)²."""
    return 0.5 * (prediction - features @ omega) ** 2


def outer_loss(omega, prediction, target):
    """½(h(x') − y)²."""
    return 0.5 * (prediction - target) ** 2


class LinearPopulation(Population):
    """Instrumental variables with targets linear in ω: L is quadratic, and the spectrum gives it.

    With the eigenfunctions ψ_j of the kernel and its eigenvalues μ_j::

        inner ½(h(x) − φᵀω)²   outer ½(h(x') − y)²      f_k(x) = E[φ_k | x],  g(x) = E[y | x]
        h*_ω = Σ_j s_j (Σ_k ω_k f_kj) ψ_j,  s = μ/(μ + ridge)
        L(ω) = ½ ωᵀAω − bᵀω + ½E y²,  A = Σ_j s_j² f_j f_jᵀ,  b = Σ_j s_j f_j g_j
        a*_ω = −Σ_j s_j (h*_ωj − g_j) ψ_j

    Parameters
    ----------
    name : str
    waves : Waves
        q + 1 functions: f_1, …, f_q, g.
    second_moment : float
        E y².
    space : kbo.RKHS or kbo.NeuralSpace
        The space of h. For networks, μ = 1 (the eigenvalues of L2) and estimates are not quadratic
        in ω.
    ridge : float
    draw : callable
        (random, n) ↦ (x (n, p), φ (n, q), y (n,)); inner and outer samples are drawn independently.
    box : pair of array-like
    outside : tuple of str

    Raises
    ------
    ValueError
        For a ridge that is not positive, an invalid box, or waves that are not q + 1 functions.
    """

    def __init__(self, name, waves, second_moment, space, ridge, draw, box, outside=()):
        self.name, self.waves, self.second_moment = name, waves, second_moment
        self.space, self.ridge, self.draw = space, positive("ridge", ridge), draw
        self.quadratic = isinstance(space, kbo.RKHS)
        self._enter(box, outside)
        if len(waves.amplitudes) != self.size + 1:
            raise ValueError(
                f"waves has {len(waves.amplitudes)} functions, box has {self.size} entries: give "
                "one function for each entry of omega, and E[y | x] as the last"
            )

    def _filter(self, mu):
        return mu / (mu + self.ridge)

    @cached_property
    def quadratic_form(self) -> Quadratic:
        """A, b and c of L."""
        s = self._filter
        squared, plain = self.waves.moments(lambda mu: s(mu) ** 2, s)
        return Quadratic(squared[:-1, :-1], plain[:-1, -1], 0.5 * self.second_moment)

    def value_and_grad(self, omega):
        """L(ω) and ∇L(ω), (q,), from the quadratic form."""
        return self.quadratic_form.value_and_grad(self._checked(omega))

    @cached_property
    def error_bound(self) -> float:
        """Bound on the error of value and gradient entries, from truncation and rounding."""
        largest = max(1.0, np.maximum(*np.abs(self.box)).sum())
        rounding = 1e-13 * (1 + np.abs(self.quadratic_form.A).sum() + abs(self.second_moment))
        return float(largest**2 * (2 * self.waves.truncation(self.ridge) + rounding))

    def inner(self, omega, x):
        """h*_ω(x), (n,)."""
        return self.waves.filtered(x, self._filter)[:, :-1] @ self._checked(omega)

    def adjoint(self, omega, x):
        """a*_ω(x), (n,)."""
        s = self._filter
        once = self.waves.filtered(x, s)[:, -1]
        return once - self.waves.filtered(x, lambda mu: s(mu) ** 2)[:, :-1] @ self._checked(omega)

    def square_norms(self, omega):
        """(‖h*‖²_H, ‖h*‖²_L2, ‖a*‖²_H, ‖a*‖²_L2) at ω."""
        s, found = self._filter, []
        both = np.append(self._checked(omega), 0.0)
        for norm in (lambda mu: 1 / mu, np.ones_like):
            (h,) = self.waves.moments(lambda mu, norm=norm: s(mu) ** 2 * norm(mu))
            found.append(both @ h @ both)
            # a* = s(g − s f·ω): its square is the sum of three terms.
            g, cross, f = self.waves.moments(
                *[lambda mu, k=k, norm=norm: s(mu) ** k * norm(mu) for k in (2, 3, 4)]
            )
            found.append(g[-1, -1] - 2 * both @ cross[:, -1] + both @ f @ both)
        return found[0], found[2], found[1], found[3]

    def effective_dimension(self):
        """Σ_j μ_j/(μ_j + ridge); infinite for networks, whose space is L2."""
        return np.inf if not self.quadratic else self.waves.trace(self._filter)

    def points(self, n, random_state):
        """n inner points without targets, (n, p)."""
        return self.draw(stream("points", random_state), n)[0]

    def sample(self, n, m, random_state):
        """The empirical problem on n inner and m outer samples."""
        random = np.random.default_rng(random_state)
        x, features, _ = self.draw(random, n)
        x_out, _, y = self.draw(random, m)
        with jax.enable_x64(True):
            return kbo.BilevelProblem(
                inner_loss=inner_loss, outer_loss=outer_loss,
                inner_data=kbo.Sample(jnp.asarray(x), features),
                outer_data=kbo.Sample(jnp.asarray(x_out), y),
                space=self.space, ridge=self.ridge,
            )
