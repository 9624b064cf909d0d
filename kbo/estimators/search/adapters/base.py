"""What an adapter is: an estimator as a bilevel problem, in its own parameters.

An adapter says which parameters are differentiable, and turns one training set and one test set
into a BilevelProblem. What is fitted besides h (centring, scaling) happens here, anew for each
training set.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .... import losses
from ....problem import BilevelProblem, Sample
from .parts import RidgeOf, ValueOf

ADAPTERS: dict[type, type] = {}  # of classes of estimators


class Part(NamedTuple):
    """Points, targets and weights (F, n) of the training or the test sets."""

    X: Any
    y: np.ndarray
    weights: np.ndarray


class Adapter(abc.ABC):
    """How one kind of estimator is a bilevel problem.

    Parameters
    ----------
    estimator : estimator
    X : ndarray (n, d)
        The whole data, for parameters that are given by them (gamma).
    y : ndarray (n,) or (n, p)

    Attributes
    ----------
    defaults : dict of str to number or array
        Every differentiable parameter, with the estimator's value of it.

    Raises
    ------
    ValueError
        If the estimator's settings have no smooth counterpart.
    """

    defaults: dict
    shares_points: ClassVar[bool] = True  # whether one problem can hold all folds
    classifier: ClassVar[bool] = False
    gamma_power: int = -2  # gamma is a length to this power

    @abc.abstractmethod
    def problem(self, values, train, test, outer_loss) -> BilevelProblem:
        """Train on one part, judge on the other; the same X object where points are shared."""

    def encode(self, y) -> np.ndarray:
        """Targets as losses want them."""
        return np.asarray(y, float)

    def outer_loss(self) -> losses.Loss:
        """What the criterion is where none is asked for."""
        return losses.Squared()

    def finished(self, values, dimensions, folds) -> dict:
        """The values searched, with what the criterion does not see set by other means.

        Parameters
        ----------
        values : dict of str to number or array
        dimensions : list of Dimension
        folds : callable
            () ↦ an iterator of Fold.
        """
        return values

    def complaints(self, values, folds) -> list[str]:
        """What is wrong with these values although the criterion is low."""
        return []


def register_adapter(estimator_class, adapter=None):
    """Let HypergradientSearchCV search the parameters of a class of estimators.

    Subclasses of a known class are handled like it, unless they are registered themselves.

    Parameters
    ----------
    estimator_class : type
    adapter : type, optional
        A subclass of kbo.estimators.search.adapters.Adapter, called as adapter(estimator, X, y).
        Without it, a decorator: ``@kbo.register_adapter(MyRegressor)`` above the adapter's class.

    Raises
    ------
    TypeError
        If one of them is not such a class.
    """
    if not isinstance(estimator_class, type):
        raise TypeError(f"estimator_class={estimator_class!r} must be a class of estimators")
    if adapter is None:
        return lambda adapter: register_adapter(estimator_class, adapter)
    if not (isinstance(adapter, type) and issubclass(adapter, Adapter)):
        raise TypeError(
            f"adapter={adapter!r} must be a subclass of kbo.estimators.search.adapters.Adapter"
        )
    ADAPTERS[estimator_class] = adapter
    return adapter


def samples(train, test):
    """The inner and the outer Sample, at one set of points where they are one."""
    inner = Sample(train.X, train.y, train.weights)
    x = inner.x if test.X is train.X else test.X
    return inner, Sample(x, test.y, test.weights)


def n_outputs(y):
    """p of BilevelProblem for targets (n,) or (n, p)."""
    return None if y.ndim == 1 else y.shape[1]


class LeastSquares(Adapter):
    """alpha, one for all outputs or one for each."""

    def _check_alpha(self, alpha, y):
        if np.ndim(alpha) and np.shape(alpha) != y.shape[1:]:
            raise ValueError(f"alpha has shape {np.shape(alpha)}, but y {y.shape}")

    def _loss_and_ridge(self, values, train):
        total = train.weights.sum(1)
        if np.ndim(self.defaults["alpha"]):
            return losses.SquaredPerOutput(ValueOf(values, "alpha")), 1 / total
        return losses.Squared(), RidgeOf(values, "alpha", total)


class Classifier(Adapter):
    """Labels ±1 for two classes, 0…K−1 for more."""

    classifier = True

    def __init__(self, estimator, X, y):
        self.classes = np.unique(y)
        self.defaults = {"C": estimator.C}
        if estimator.class_weight is not None:
            raise ValueError(
                f"class_weight of {type(estimator).__name__} is not supported: give sample_weight "
                "to fit"
            )

    def encode(self, y):
        """See Adapter."""
        index = np.searchsorted(self.classes, y)
        return 2.0 * index - 1.0 if len(self.classes) == 2 else index

    def outer_loss(self):
        """The likelihood of the scores."""
        return losses.Logistic() if len(self.classes) == 2 else losses.Multinomial()
