"""The layers around the estimator that is searched: Pipeline steps and target transformations."""

from __future__ import annotations

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import has_fit_parameter

from .adapters.parts import Mapped, Shifted

AFFINE = 1e-8  # tolerance, relative to the spread of y, at which an inverse counts as affine


class Fold(NamedTuple):
    """A training and a test set, as transformed by the layers applied so far.

    Attributes
    ----------
    train, test : array-like
        The points of both.
    y, y_test : ndarray
        The transformed targets of both.
    loss : Loss or callable
        A loss of predictions on the transformed scale and of targets as the user gave them.
    """

    train: Any
    test: Any
    y: Any
    y_test: Any
    loss: Any


class Before(NamedTuple):
    """The steps of a Pipeline before the last one, fitted to each training set."""

    steps: Pipeline

    def apply(self, fold) -> Fold:
        """Fit the steps to the training set, and transform the points of both sets."""
        fitted = clone(self.steps)
        train = fitted.fit_transform(fold.train, fold.y)
        return fold._replace(train=train, test=fitted.transform(fold.test))


class Target(NamedTuple):
    """A TransformedTargetRegressor, which predicts g⁻¹(h); g is fitted to each training set.

    The loss is still that of y on the user's scale: ℓ(ω, g⁻¹(v), y).
    """

    estimator: TransformedTargetRegressor

    def apply(self, fold) -> Fold:
        """Fit g to the training set, transform the targets, and compose the loss with g⁻¹."""
        table = np.reshape(fold.y, (len(fold.y), -1))
        fitted = self._transformer().fit(table)
        columns = lambda y: np.asarray(  # noqa: E731
            fitted.transform(np.reshape(y, (len(y), -1))), float
        )
        inside = columns(fold.y)
        if inside.shape != table.shape:
            raise ValueError(
                f"the transformer of {self._shown()} turns y of shape {table.shape} into "
                f"{inside.shape}: use one that keeps it"
            )
        loss = self._loss(fold.loss, fitted, inside, table, np.ndim(fold.y) == 1)
        y, y_test = inside, columns(fold.y_test)
        if np.ndim(fold.y) == 1:
            y, y_test = y[:, 0], y_test[:, 0]
        return fold._replace(y=y, y_test=y_test, loss=loss)

    def _transformer(self):
        """g, unfitted; like scikit-learn's, it is fitted without weights."""
        est = self.estimator
        if est.transformer is not None:
            return clone(est.transformer)
        return FunctionTransformer(est.func, est.inverse_func, validate=True)

    def _shown(self):
        est = self.estimator
        given = est.transformer if est.transformer is not None else est.inverse_func
        return f"{type(est).__name__} ({given!r})"

    def _loss(self, loss, fitted, inside, table, single):
        """ℓ(ω, g⁻¹(v), y), where g⁻¹ is found to be affine, or can be traced by JAX."""
        inverse = lambda v: np.reshape(  # noqa: E731
            np.asarray(fitted.inverse_transform(v), float), np.shape(v)
        )
        p = table.shape[1]
        offset = inverse(np.zeros((1, p)))[0]
        scale = inverse(np.ones((1, p)))[0] - offset
        # Tested beyond the range of the targets too, because h may predict values there.
        wide = np.concatenate([inside, 3 * inside - 2 * inside.mean(0)])
        given, spread = inverse(wide), np.ptp(table, axis=0)
        miss = np.abs(offset + scale * wide - given) <= AFFINE * (spread + np.abs(given))
        if miss.all():
            return Shifted(loss, *((offset[0], scale[0]) if single else (offset, scale)))
        function = getattr(fitted, "inverse_func", None)
        traced = _traced(function, getattr(fitted, "inv_kw_args", None))
        if traced is None or not np.allclose(traced(inside), inverse(inside), rtol=1e-5):
            raise ValueError(
                f"the inverse in {self._shown()} is neither affine nor known to JAX, so that no "
                "gradient of the loss of y goes through it: use StandardScaler, MinMaxScaler, "
                "MaxAbsScaler or RobustScaler, or func= with an inverse_func= that is a NumPy "
                "function of one argument (np.exp, np.expm1, np.square) or written with jax.numpy"
            )
        return Mapped(loss, traced)


def _traced(inverse, keywords):
    """A JAX function equivalent to ``inverse``, or None.

    NumPy and SciPy ufuncs are replaced by their namesakes in jax.numpy or jax.scipy.special.
    """
    if isinstance(inverse, np.ufunc):
        names = (jnp, jax.scipy.special)
        inverse = next((getattr(m, inverse.__name__) for m in names
                        if hasattr(m, inverse.__name__)), None)
    if inverse is None:
        return None
    inverse = functools.partial(inverse, **keywords) if keywords else inverse
    try:
        jax.eval_shape(inverse, jax.ShapeDtypeStruct((1, 1), float))
    except Exception:  # a function of NumPy arrays may fail on a tracer in any way
        return None
    return inverse


class Unwrapped(NamedTuple):
    """The innermost estimator and the layers around it.

    Attributes
    ----------
    final : estimator
    layers : tuple of Before and Target
        From the outermost inwards.
    prefix : str
        The prefix of the names of the innermost estimator's parameters.
    """

    final: Any
    layers: tuple
    prefix: str

    def fold(self, train, test, y, y_test, loss) -> Fold:
        """A training and a test set as the innermost estimator sees them, after all layers."""
        found = Fold(train, test, y, y_test, loss)
        for layer in self.layers:
            found = layer.apply(found)
        return found


def unwrap(estimator) -> Unwrapped:
    """Unwrap an estimator from Pipelines and TransformedTargetRegressors.

    Raises
    ------
    ValueError
        For a subclass of these that fits or predicts differently.
    """
    layers, prefix = [], ""
    while True:
        if isinstance(estimator, Pipeline):
            check_not_overridden(estimator, Pipeline)
            if len(estimator.steps) > 1:
                layers.append(Before(estimator[:-1]))
            name, estimator = estimator.steps[-1]
            prefix = f"{prefix}{name}__"
        elif isinstance(estimator, TransformedTargetRegressor):
            check_not_overridden(estimator, TransformedTargetRegressor)
            layers.append(Target(estimator))
            prefix, estimator = f"{prefix}regressor__", estimator.regressor
        else:
            return Unwrapped(estimator, tuple(layers), prefix)


def weight_of(estimator, params):
    """The ``sample_weight`` among ``fit``'s parameters that reaches the innermost estimator.

    Raises
    ------
    ValueError
        If weights are given to an earlier step, or to an estimator that takes none.
    """
    routing = get_config()["enable_metadata_routing"]
    while isinstance(estimator, Pipeline | TransformedTargetRegressor):
        routed = process_routing(estimator, "fit", **params) if routing else None
        if isinstance(estimator, TransformedTargetRegressor):
            estimator, params = estimator.regressor, routed.regressor.fit if routing else params
            continue
        *before, (name, estimator) = estimator.steps
        if routing:
            taken = {
                step: {**routed[step].get("fit", {}), **routed[step].get("fit_transform", {})}
                for step, _ in before
            }
            params = routed[name].get("fit", {})
        else:
            own = f"{name}__"
            taken = {key: {key.split("__")[-1]: v} for key, v in params.items()
                     if not key.startswith(own)}
            params = {k.removeprefix(own): v for k, v in params.items() if k.startswith(own)}
        wrong = [step for step, found in taken.items() if found.get("sample_weight") is not None]
        if wrong:
            raise ValueError(
                f"fit got sample weights for {wrong}, but the search takes those of the last step "
                f"alone: give {name}__sample_weight (with metadata routing: request them there)"
            )
    weight = params.get("sample_weight")
    if weight is not None and not has_fit_parameter(estimator, "sample_weight"):
        raise ValueError(f"{type(estimator).__name__} takes no sample_weight: leave it out")
    return weight


WORK = {
    "fit", "predict", "decision_function", "predict_proba", "transform", "fit_transform",
}


def check_not_overridden(estimator, kind):
    """Refuse a subclass that fits or predicts differently from the class it is treated as.

    It may have different defaults, additional methods and a score of its own.

    Raises
    ------
    ValueError
        If it overrides a method in WORK, or a private method that these may call.
    """
    own = type(estimator)
    private = {name for name in dir(kind) if name.startswith("_") and not name.startswith("__")}
    replaced = sorted(
        name for name in (WORK | private) & set(dir(kind))
        if callable(getattr(kind, name))
        and inspect.getattr_static(own, name) is not inspect.getattr_static(kind, name)
    )
    if replaced:
        raise ValueError(
            f"estimator={own.__name__} replaces {replaced} of {kind.__name__}, so that the "
            f"gradient of {kind.__name__} would be that of another model: search a plain "
            f"{kind.__name__}, or use GridSearchCV"
        )
