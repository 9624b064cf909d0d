"""What a problem promises, checked before anything is computed.

A loss of one sample is a number, the prediction has the shape that ``n_outputs`` says, a space is a
space, and targets are what the loss can take. Shapes are found by ``jax.eval_shape``, which runs no
arithmetic; a problem whose code and shapes were seen before is not looked at again.
"""

from __future__ import annotations

import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import is_traced, resolve
from ..losses import Joint, Loss
from ..programs import signature
from ..sample import Sample
from .space_contract import check_space, check_symmetry, expect_scalar, kind_of

SEEN = 4096
_seen: dict[int, None] = {}
_checked_targets: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def check(problem, omega):
    """Refuse a problem that does not keep what its fields promise.

    Parameters
    ----------
    problem : BilevelProblem
    omega : pytree of arrays

    Raises
    ------
    ValueError
        Naming the field, the shapes seen, and the remedy.
    """
    _check_devices(problem)
    inner, outer = (sample_at(problem, omega, name) for name in ("inner_data", "outer_data"))
    samples = {"inner": inner, "outer": outer}
    for side, sample in samples.items():
        loss = getattr(problem, f"{side}_loss")
        if isinstance(loss, Loss):
            loss.check(omega)
            _check_targets(side, loss, sample, problem.n_outputs)
    seen = hash(signature((problem, omega))[0])
    if seen in _seen:
        return
    dtype = inner.x.dtype
    check_space(problem, omega, jax.ShapeDtypeStruct(inner.x.shape[1:], dtype))
    for side, sample in samples.items():
        _check_loss(problem, omega, side, sample, dtype)
    if problem.penalty is not None:
        expect_scalar("penalty", _shape_of("penalty", problem.penalty, omega), "for omega")
    _check_ridge(problem, omega)
    check_symmetry(problem, omega, inner.x)
    _seen[seen] = None
    while len(_seen) > SEEN:
        del _seen[next(iter(_seen))]


def _check_devices(problem):
    """Arrays that were put on different devices cannot meet in one program."""
    places = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(problem):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.committed:
            places.setdefault(frozenset(leaf.devices()), jax.tree_util.keystr(path).lstrip("."))
    if len(places) > 1:
        seen = " and ".join(f"{name} is on {sorted(map(str, d))}" for d, name in places.items())
        raise ValueError(
            f"{seen}: put the arrays of a problem on one device (jax.device_put), or shard them "
            "over the same ones"
        )


def sample_at(problem, omega, name) -> Sample:
    """``inner_data`` or ``outer_data`` at ω."""
    data = getattr(problem, name)
    sample = resolve(data, omega)
    if not isinstance(sample, Sample):
        raise ValueError(
            f"{name} returned {kind_of(sample)} for omega: a callable must return a kbo.Sample"
        )
    return sample


def _check_targets(side, loss, sample, n_outputs):
    declared, target = loss.targets, sample.target
    if declared is None or is_traced((target, sample.weights)):
        return
    name = f"{side}_loss={type(loss).__name__}()"
    if not eqx.is_array(target):
        raise ValueError(
            f"{name} compares predictions with one array of targets, and {side}_data has "
            f"target={kind_of(target)}: give kbo.Sample(x, target)"
        )
    known = (id(target), type(loss), n_outputs)
    if _checked_targets.get(known) is target and sample.weights is None:
        return
    # What is left out may be anything: padding, say.
    weights = sample.weights
    used = slice(None) if weights is None else np.atleast_2d(np.asarray(weights)).any(0)
    fault = declared.fault(np.asarray(target)[used], n_outputs)
    if fault is not None:
        raise ValueError(f"{name}: {fault}")
    _checked_targets[known] = target


def _check_loss(problem, omega, side, sample, dtype):
    name, p = f"{side}_loss", problem.n_outputs
    loss = getattr(problem, name)
    if isinstance(loss, Joint):
        if side == "inner":
            raise ValueError(
                f"inner_loss={type(loss).__name__} is a loss of all predictions at once; the inner "
                "loss must be one of a single sample, ℓ(omega, prediction, target)"
            )
        m = sample.size
        predictions = jax.ShapeDtypeStruct((m,) if p is None else (m, p), dtype)
        weights = jax.ShapeDtypeStruct((m,), dtype)
        value = _shape_of(name, loss, omega, predictions, sample.target, weights)
        expect_scalar(name, value, f"for predictions of shape {predictions.shape}")
        return
    prediction = jax.ShapeDtypeStruct(() if p is None else (p,), dtype)
    target = jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape[1:], t.dtype), sample.target)
    value = _shape_of(name, loss, omega, prediction, target)
    shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(target)) or "no target"
    expect_scalar(
        name, value, f"for one sample, with a prediction of shape {prediction.shape} and a target "
        f"of shape {shapes}",
        " Give targets of shape (n,) for scalar predictions, set n_outputs=p for predictions of "
        "shape (p,), or sum over the outputs.",
    )


def _shape_of(name, function, *arguments):
    try:
        return jax.eval_shape(lambda *given: function(*given), *arguments)
    except Exception as error:
        shapes = [jax.tree.map(lambda leaf: jnp.shape(leaf), argument) for argument in arguments]
        error.add_note(
            f"kbo met this when it called {name} with arguments of shapes (omega first) "
            f"{', '.join(map(str, shapes))}."
        )
        raise


def _check_ridge(problem, omega):
    ridge = problem.ridge
    value = _shape_of("ridge", ridge if callable(ridge) else lambda _: jnp.asarray(ridge), omega)
    if not isinstance(value, jax.ShapeDtypeStruct) or value.ndim > 1:
        raise ValueError(
            f"ridge {'returned' if callable(ridge) else 'is'} {kind_of(value)}; it must be a "
            "number, or one for each replicate"
        )
