"""Methods of the library's classes are ordinary; those of users' subclasses are pytrees."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import kbo
from tests.small import OMEGA, X, Y, problem


class Bell(kbo.kernels.Kernel):
    width: jax.Array

    def evaluate(self, x, z):
        return jnp.exp(-jnp.sum((x - z) ** 2) / self.width)

    def space(self, omega):
        return kbo.RKHS(Bell(self.width * (1.0 + 0.0 * omega.sum())))


def test_own_methods_are_looked_up_without_cost():
    assert isinstance(kbo.kernels.Gaussian().matrix, types.MethodType)


def test_the_arrays_of_a_users_method_are_leaves_of_the_problem(x64):
    def at(width):
        return problem(space=Bell(jnp.asarray(width)).space, inner_data=kbo.Sample(X, Y))

    def value(p):
        return kbo.outer_objective(p)(OMEGA)

    (slope,) = jax.tree.leaves(eqx.filter_grad(value)(at(1.5)).space)
    step = 1e-5
    expected = (value(at(1.5 + step)) - value(at(1.5 - step))) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    both = jax.tree.map(
        lambda a, b: jnp.stack([a, b]) if eqx.is_array(a) else a, at(1.5), at(2.5)
    )
    np.testing.assert_allclose(
        eqx.filter_vmap(value)(both), [value(at(1.5)), value(at(2.5))], rtol=1e-12
    )
