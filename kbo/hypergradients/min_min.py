"""Three estimates g1, g2 and g3 of the gradient of a minimum, at an inexact minimiser."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
import optax

from ..instance import of_instance
from ..result import Cost, Hypergradient
from ..solvers.coefficients import inner_objective, rows
from .base import PARAMETRIC, Method, finish
from .linear_solvers import Direct, LinearSolver
from .unrolled import SGD, ending_of, fresh_start, judge, take_steps


@of_instance
def _evaluate(instance, state, method):
    """J(ω, θ_K), its gradient in ω, the state after K steps and their Ending."""
    optimizer = method.optimizer or SGD

    def whole(omega):
        smooth = inner_objective(instance.at(omega), whole=True)
        if method.regularizer is None:
            return smooth
        return lambda theta: smooth(theta) + method.regularizer(theta)

    def trained(omega):
        return take_steps(inner_objective(instance.at(omega)), optimizer, state, method.steps)

    if method.gradient == "automatic":

        def through(omega):
            last = trained(omega)
            value = whole(omega)(last.coefficients)
            return value, (value, last)

        grad, (value, last) = jax.grad(through, has_aux=True)(instance.omega)
    else:
        last = trained(instance.omega)
        value_of = lambda omega: whole(omega)(last.coefficients)  # noqa: E731
        value, grad = jax.value_and_grad(value_of)(instance.omega)
    if method.gradient == "implicit":
        theta, undo = rows(last.coefficients)
        slope = lambda omega: jax.grad(lambda theta: whole(omega)(undo(theta)))  # noqa: E731
        multiply = jax.linearize(slope(instance.omega), theta)[1]
        v = method.linear_solver.solve(multiply, slope(instance.omega)(theta), None).v
        through = jax.grad(lambda omega: (slope(omega)(theta) * v).sum())(instance.omega)
        grad = jax.tree.map(lambda direct, own: direct - own, grad, through)
    return value, grad, last, ending_of(instance, state, last)


class MinMin(Method):
    """∇ of L(ω) = min_θ J(ω, θ), whose outer objective is the inner one, at θ_K ≈ θ*(ω)::

        analytic   g1 = ∂_ωJ(ω, θ_K)                                     error O(e), e = ‖θ_K − θ*‖
        automatic  g2 = dJ(ω, θ_K(ω))/dω                                 o(e)
        implicit   g3 = g1 − ∂²_ωθJ (∂²_θθJ)⁻¹ ∂_θJ  at θ_K              O(e²)

    For gradient descent with e = O(κ^K), κ < 1, the error of g2 is O(K κ^(2K)).

    The value is J(ω, θ_K). The problem's outer loss, outer data and penalty are not used. θ_K is
    the result of K gradient steps, which start at every ω from zero (or from the same random
    weights of a network). With a ``regularizer`` R, L(ω) = min_θ J + R, and the optimizer must be a
    proximal one. If R is an L1 norm, the error of g2 is as above once the steps have found the
    support of θ*, and may be large before.

    Parameters
    ----------
    gradient : {"analytic", "automatic", "implicit"}
    steps : int
        K.
    optimizer : optax.GradientTransformation, optional
        None is optax.sgd(0.1).
    linear_solver : LinearSolver
        Solves with ∂²_θθJ for the implicit gradient.
    regularizer : callable, optional
        θ ↦ R(θ), as kbo.regularizers.L1, with optimizer=kbo.optimizers.proximal_gradient.

    References
    ----------
    Ablin, Peyré, Moreau (2020), Super-efficiency of Automatic Differentiation for Functions Defined
    as a Minimum, Propositions 2.1–2.3 and 3.1. Malézieux, Moreau, Kowalski (2022), Understanding
    Approximate and Unrolled Dictionary Learning for Pattern Recovery, Section 3.
    """

    gradient: str = eqx.field(static=True, default="analytic")
    steps: int = eqx.field(static=True, default=20)
    optimizer: optax.GradientTransformation | None = None
    linear_solver: LinearSolver = Direct()
    regularizer: Callable | None = None

    needs = PARAMETRIC
    remedy = "raise steps of the method, or change its optimizer"

    def __check_init__(self):
        if self.gradient not in ("analytic", "automatic", "implicit"):
            raise ValueError(
                f"gradient={self.gradient!r} must be 'analytic', 'automatic' or 'implicit'"
            )
        if self.regularizer is not None and self.gradient == "implicit":
            raise ValueError("gradient='implicit' needs J + R to be smooth: use another gradient")
        if self.regularizer is not None and self.optimizer is None:
            raise ValueError(
                "regularizer needs steps that minimise it too: "
                "optimizer=kbo.optimizers.proximal_gradient(rate, regularizer)"
            )
        if self.linear_solver.solvers:
            raise ValueError(
                f"linear_solver={type(self.linear_solver).__name__} uses the estimate of an inner "
                "solver, which MinMin does not call: use Direct() or CG()"
            )
        if self.steps < 1:
            raise ValueError(f"steps={self.steps!r} must be at least 1")

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """J(ω, θ_K) (with R, if any) and the chosen gradient; ``state`` is not used."""
        first = fresh_start(instance, self.optimizer or SGD, jax.random.key(0))
        value, grad, last, ending = _evaluate(instance, first, self)
        # With a regularizer, ∂_θJ need not vanish at the minimiser.
        residual = float(ending.slope) if self.regularizer is None else np.inf
        products = {"analytic": 0, "automatic": self.steps, "implicit": 1}[self.gradient]
        return finish(
            instance, solver, value, grad, last.coefficients, judge(value, ending),
            (residual, np.inf), state=last, cost=Cost(self.steps, products),
        )

    def comparable(self, solver):
        """True, since every ω starts anew."""
        return True

    def warm_start(self, solver, state):
        """None, since every ω starts anew."""
        return None

    def function(self, instance, solver, state):
        """h with the coefficients θ_K, and how the steps ended."""
        found = self.evaluate(instance, solver)
        return found.inner, found.status
