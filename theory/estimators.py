"""Estimators of L and ∇L from a sample: correct ones, and deliberately wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import kbo

from .quadratic import empirical_quadratic


class Estimate(NamedTuple):
    """L̂ and ∇L̂ of one sample.

    Attributes
    ----------
    value_and_grad : callable
        ω ↦ (L̂(ω), ∇L̂(ω)).
    functions : callable
        ω ↦ the Hypergradient, with ĥ and â.
    together : callable, optional
        (k, q) points ↦ (k,) values and (k, q) gradients, where this costs less than calling
        ``value_and_grad`` at each point.
    """

    value_and_grad: Callable
    functions: Callable
    together: Callable | None = None

    def values_and_grads(self, points):
        """L̂ (k,) and ∇L̂ (k, q) at points (k, q)."""
        if self.together is not None:
            return self.together(points)
        values, grads = zip(*map(self.value_and_grad, points), strict=True)
        return np.array(values), np.array(grads)

    def remembering(self, size):
        """The same estimate, with each request computed once however many quantities make it.

        Raises
        ------
        ValueError
            From ``value_and_grad``, unless it returns a number and a gradient of shape (size,).
        """
        def value_and_grad(omega):
            found = self.value_and_grad(omega)
            shapes = [np.shape(part) for part in found]
            if shapes != [(), (size,)]:
                raise ValueError(
                    f"value_and_grad of the estimate must return a number and a gradient of shape "
                    f"({size},); it returned shapes {shapes}"
                )
            return float(found[0]), np.asarray(found[1], float)

        return Estimate(
            _remembered(value_and_grad),
            *[part and _remembered(part) for part in (self.functions, self.together)],
        )


def _remembered(function):
    known = {}

    def call(omega):
        key = np.asarray(omega, float).tobytes()
        if key not in known:
            known[key] = function(omega)
        return known[key]

    return call


class Plain:
    """kbo's hypergradient; where L is quadratic in ω, one factorisation serves all ω.

    Parameters
    ----------
    solver : kbo.solvers.Solver or callable, default Exact()
        A callable returns the solver for a sample of size n.
    """

    def __init__(self, solver=None):
        self.solver = solver

    def __repr__(self):
        return type(self).__name__  # a function's repr would differ from process to process

    def _solver(self, problem):
        chosen = self.solver
        if callable(chosen) and not isinstance(chosen, kbo.solvers.Solver):
            chosen = chosen(problem.inner_data.size)
        return chosen or kbo.solvers.Exact()

    def __call__(self, problem, quadratic) -> Estimate:
        """Build the Estimate of one sample.

        Parameters
        ----------
        problem : BilevelProblem
        quadratic : bool
            Whether L̂ is quadratic in ω, so that ``empirical_quadratic`` can find it.
        """
        solver = self._solver(problem)

        def functions(omega):
            with jax.enable_x64(True):
                return kbo.value_and_hypergradient(
                    problem, np.asarray(omega, float), solver=solver
                )

        if quadratic:
            with jax.enable_x64(True):
                return Estimate(empirical_quadratic(problem, solver).value_and_grad, functions)

        def value_and_grad(omega):
            found = functions(omega)
            return found.value, np.asarray(found.grad)

        return Estimate(value_and_grad, functions)


class ScaledAdjoint(Plain):
    """∇L̂ with the adjoint times ``factor`` (0 omits it, ½ halves it): wrong on purpose."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def __call__(self, problem, quadratic):
        """Build the Estimate of one sample, with the adjoint's part of ∇L̂ scaled."""
        right = super().__call__(problem, quadratic)

        def value_and_grad(omega):
            value, grad = right.value_and_grad(omega)
            direct = _direct_gradient(problem, omega, right.functions)
            return value, direct + self.factor * (grad - direct)

        return Estimate(value_and_grad, right.functions)


def _direct_gradient(problem, omega, functions):
    """∂_ω of the outer loss at fixed h: what is left of the gradient without the adjoint."""
    with jax.enable_x64(True):
        h = functions(omega).inner(problem.outer_data.x)
        h = h.reshape(1, len(h), -1)
        outer = lambda omega: problem.at(omega).outer_value(h)  # noqa: E731
        return np.asarray(jax.grad(outer)(jnp.asarray(omega, float)))


class Forgets(Plain):
    """∇L̂ that ignores how one part of the problem depends on ω: wrong on purpose.

    Parameters
    ----------
    part : {"inner_loss", "outer_loss", "space", "ridge"}
        The part treated as constant in ω: the hypergradient lacks its term of ∂_ωΛ.
    """

    def __init__(self, part):
        super().__init__()
        self.part = part

    def __call__(self, problem, quadratic):
        """Build the Estimate of one sample, with the part held constant in ω.

        Raises
        ------
        ValueError
            If the part does not depend on ω.
        """
        held = getattr(problem, self.part)
        if not callable(held):
            raise ValueError(f"part={self.part!r} of this problem does not depend on omega")
        return super().__call__(problem.replace(**{self.part: _Held(held)}), False)


class _Held(eqx.Module):
    """f(ω, …), which derivatives treat as constant in ω."""

    function: Any

    def __call__(self, omega, *rest):
        return self.function(jax.lax.stop_gradient(omega), *rest)


class OtherRidge(Plain):
    """The ridge times a function of n, where the truth is that of a fixed ridge: wrong on purpose.

    Parameters
    ----------
    factor : callable
        n ↦ number.
    """

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def __call__(self, problem, quadratic):
        """Build the Estimate of one sample, with the ridge multiplied by ``factor(n)``."""
        factor, ridge = float(self.factor(problem.inner_data.size)), problem.ridge
        ridge = _Times(ridge, factor) if callable(ridge) else factor * ridge
        return super().__call__(problem.replace(ridge=ridge), quadratic)


class _Times(eqx.Module):
    """factor·f(ω). The factor is an array, so that one compiled program serves all samples."""

    function: Any
    factor: Any = eqx.field(converter=lambda value: np.asarray(value, float))

    def __call__(self, omega):
        return self.factor * self.function(omega)


class Dependent(Plain):
    """Uses the first √n samples only, as if the sample size were overstated: wrong on purpose."""

    def __call__(self, problem, quadratic):
        """Build the Estimate of the first √n inner and the first √m outer samples."""
        with jax.enable_x64(True):
            parts = [_repeated(part) for part in (problem.inner_data, problem.outer_data)]
        changed = problem.replace(inner_data=parts[0], outer_data=parts[1])
        return super().__call__(changed, quadratic)


def _repeated(sample):
    kept = int(np.ceil(np.sqrt(sample.size)))
    return kbo.Sample(sample.x[:kept], jax.tree.map(lambda t: t[:kept], sample.target))


class OtherKernel(Plain):
    """Uses a kernel that is not the problem's: wrong on purpose."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def __call__(self, problem, quadratic):
        """Build the Estimate of one sample, with the other kernel."""
        return super().__call__(problem.replace(space=kbo.RKHS(self.kernel)), quadratic)
