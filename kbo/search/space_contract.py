"""What a space promises: values of the right shape, and a kernel that is symmetric."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import is_traced, resolve
from ..kernels import Kernel, OwnKernel
from ..spaces import (
    RKHS,
    FeatureSpace,
    NeuralFeatures,
    NeuralSpace,
    RegularizedFeatures,
    Space,
)

SOME, ASYMMETRIC = 8, 1e-4  # points, and a relative difference beyond rounding in float32


def check_space(problem, omega, point):
    """Refuse what is no space, or functions without a value at a ``point`` of this shape."""
    space = problem.space
    if callable(space):
        try:
            space = eqx.filter_eval_shape(space, omega)
        except Exception as error:
            raise ValueError(f"space(omega) failed: {error}. {_SPACES}") from error
    if isinstance(space, NeuralFeatures):
        return
    if isinstance(space, RegularizedFeatures):
        _check_regularizer(space, point, problem.n_outputs or 1)
        return
    if not isinstance(space, Space):
        given = "space(omega) returned" if callable(problem.space) else "space is"
        raise ValueError(f"{given} {kind_of(space)}. {_SPACES}")
    if isinstance(space, RKHS):
        value = eqx.filter_eval_shape(lambda s, x: s.kernel.evaluate(x, x), space, point)
        expect_scalar("kernel", value, f"for two points of shape {point.shape}")
    elif isinstance(space, FeatureSpace):
        value = eqx.filter_eval_shape(lambda s, x: s.feature_map(x), space, point)
        if not isinstance(value, jax.ShapeDtypeStruct) or len(value.shape) != 1:
            raise ValueError(
                f"feature_map returned {kind_of(value)} for a point of shape {point.shape}; it "
                "must return features of shape (q,)"
            )
    elif isinstance(space, NeuralSpace):
        _check_networks(space, point, problem.n_outputs or 1)


_SPACES = (
    "A space is kbo.RKHS(kernel), kbo.FeatureSpace(feature_map), kbo.NeuralSpace(network), "
    "kbo.NeuralFeatures(network), or a callable of omega that returns one."
)


def _check_regularizer(space, point, p):
    value = eqx.filter_eval_shape(lambda s, x: s.feature_map(x), space, point)
    shape = value.shape if isinstance(value, jax.ShapeDtypeStruct) else ()
    if len(shape) not in (1, 2) or shape[1:] not in ((), (p,)):
        raise ValueError(
            f"feature_map returned {kind_of(value)} for a point of shape {point.shape}; it must "
            f"return features of shape (q,), or a matrix (q, {p}) for n_outputs={p}"
        )
    theta = jax.ShapeDtypeStruct((shape[0], p if len(shape) == 1 else 1), point.dtype)
    name = f"regularizer={type(space.regularizer).__name__}"

    def probe(space, theta):
        own = space.regularizer
        return own(theta), own.prox(theta, 1.0), own.tangent(theta, theta), own.moved(theta)

    try:
        value, *points = eqx.filter_eval_shape(probe, space, theta)
    except Exception as error:
        raise ValueError(f"{name} failed for coefficients of shape {theta.shape}: {error}") from (
            error
        )
    expect_scalar("regularizer", value, f"for coefficients of shape {theta.shape}")
    for found in points:
        if found.shape != theta.shape:
            raise ValueError(
                f"{name} makes {found.shape} of coefficients of shape {theta.shape}: give its "
                f"arrays a shape that broadcasts to that, such as {(*theta.shape[:1], 1)}"
            )


def _check_networks(space, point, p):
    def values(space, point):
        initial = space.initial(jax.random.key(0), point, p, 1)
        one_point = point[None]
        return [space.evaluate(None, one_point, own) for own in initial]

    try:
        found = eqx.filter_eval_shape(values, space, point)
    except Exception as error:
        raise ValueError(
            f"a network of NeuralSpace failed at a point of shape {point.shape}: {error} A network "
            "here is a function of its weights and one point: wrap a module that draws, such as "
            "Dropout, in eqx.nn.inference_mode; replace one that carries a state, such as "
            "BatchNorm, by LayerNorm."
        ) from error
    for value in found:
        if value.shape != (1, 1, p):
            raise ValueError(
                f"a network of NeuralSpace returned {value.shape[2:]} for a point of shape "
                f"{point.shape}; n_outputs={p if p > 1 else None} needs ({p},)"
            )


def _is_own(kernel):
    return isinstance(kernel, OwnKernel) or type(kernel).__module__.partition(".")[0] != "kbo"


def check_symmetry(problem, omega, x):
    """Refuse a kernel of one's own that is not symmetric at some of the points ``x``."""
    space = resolve(problem.space, omega)
    own = lambda node: isinstance(node, Kernel) and _is_own(node)  # noqa: E731
    if not isinstance(space, RKHS) or not eqx.is_array(x) or is_traced((space, x)):
        return
    if not any(map(own, jax.tree.leaves(space.kernel, is_leaf=own))):
        return
    rows = x[:SOME]
    each = lambda a: jax.vmap(lambda b: space.kernel.evaluate(a, b))(rows)  # noqa: E731
    matrix = jax.vmap(each)(rows)
    if is_traced(matrix):  # the kernel closes over what JAX is tracing
        return
    matrix = np.asarray(matrix)
    off = np.abs(matrix - matrix.T)
    if np.nanmax(off) > ASYMMETRIC * np.nanmax(np.abs(matrix)):
        i, j = np.unravel_index(np.nanargmax(off), off.shape)
        raise ValueError(
            f"kernel={type(space.kernel).__name__} is not symmetric: k(x, z) = {matrix[i, j]:.6g} "
            f"and k(z, x) = {matrix[j, i]:.6g} at rows {i} and {j} of inner_data: write it so that "
            "x and z may change places"
        )


def expect_scalar(name, value, given, remedy=""):
    """Refuse a value, known by its shape, that is not one floating number."""
    if not isinstance(value, jax.ShapeDtypeStruct):
        raise ValueError(
            f"{name} returned {kind_of(value)} {given}; it must return one number, and nothing "
            "beside it (no auxiliary output)."
        )
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"{name} returned {kind_of(value)} {given}; it must return one number.{remedy}"
        )


def kind_of(value):
    """A value in words."""
    if isinstance(value, jax.ShapeDtypeStruct | jax.Array | np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, Kernel):
        return f"the kernel {type(value).__name__}"
    return f"an object of {type(value)}" if value is not None else "None"
