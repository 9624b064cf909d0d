"""Base class of adapters, which pose an estimator as a bilevel problem in its own parameters.

An adapter says which parameters are differentiable, and turns one training set and one test set
into a BilevelProblem. Whatever the estimator fits besides h (centring, scaling) is done here, for
each training set anew.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .... import losses
from ....problem import BilevelProblem, Sample
from .parts import RidgeOf, ValueOf

ADAPTERS: dict[type, type] = {}  # from an estimator's class to its adapter


class Part(NamedTuple):
    """Points, targets and weights of the training sets, or of the test sets.

    Attributes
    ----------
    X : ndarray (n, d)
    y : ndarray (n,) or (n, p)
        As ``Adapter.encode`` returns them.
    weights : ndarray (F, n)
        For each of F sets; zero for samples that are not in it.
    """

    X: Any
    y: np.ndarray
    weights: np.ndarray


class Adapter(abc.ABC):
    """Poses one kind of estimator as a bilevel problem.

    Parameters
    ----------
    estimator : estimator
    X : ndarray (n, d)
        All samples, for default parameters that depend on the data, such as gamma="scale".
    y : ndarray (n,) or (n, p)

    Attributes
    ----------
    defaults : dict of str to number or array
        Every differentiable parameter, with its value in the estimator.

    Raises
    ------
    ValueError
        If the estimator has settings without a smooth counterpart.
    """

    defaults: dict
    shares_points: ClassVar[bool] = True  # whether one problem can hold all folds
    classifier: ClassVar[bool] = False
    gamma_power: int = -2  # gamma is a lengthscale to this power

    @abc.abstractmethod
    def problem(self, values, train, test, outer_loss) -> BilevelProblem:
        """The BilevelProblem that trains on one Part and judges on the other.

        Parameters
        ----------
        values : Values
            ω ↦ the estimator's parameters by name.
        train, test : Part
            If ``shares_points``, both may have the same object X.
        outer_loss : Loss or callable
        """

    def encode(self, y) -> np.ndarray:
        """The targets ``y``, encoded as the losses need them."""
        return np.asarray(y, float)

    def outer_loss(self) -> losses.Loss:
        """The default outer loss."""
        return losses.Squared()

    def finished(self, values, dimensions, folds) -> dict:
        """The values found, after setting those that do not affect the criterion by other means.

        Parameters
        ----------
        values : dict of str to number or array
            The parameters searched, at an iterate.
        dimensions : list of Dimension
        folds : callable
            () ↦ an iterator of Fold.
        """
        return values

    def complaints(self, values, folds) -> list[str]:
        """Warnings about defects of ``values``, on ``folds``, that the criterion does not detect.

        Both are as in ``finished``.
        """
        return []


def register_adapter(estimator_class, adapter=None):
    """Let HypergradientSearchCV search the parameters of a class of estimators.

    Subclasses of a known class are handled like it, unless they are registered themselves.

    Parameters
    ----------
    estimator_class : type
    adapter : type, optional
        A subclass of kbo.estimators.search.adapters.Adapter, called as adapter(estimator, X, y).
        Without it, a decorator is returned: put ``@kbo.register_adapter(MyRegressor)`` above the
        adapter's class.

    Raises
    ------
    TypeError
        If ``estimator_class`` is not a class, or ``adapter`` not a subclass of Adapter.
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
    """The inner and the outer Sample of two Parts; they share points if the Parts do.

    Parameters
    ----------
    train, test : Part

    Returns
    -------
    pair of Sample
    """
    inner = Sample(train.X, train.y, train.weights)
    x = inner.x if test.X is train.X else test.X
    return inner, Sample(x, test.y, test.weights)


def n_outputs(y):
    """``n_outputs`` of a BilevelProblem with targets (n,) or (n, p): None or p.

    Parameters
    ----------
    y : ndarray (n,) or (n, p)

    Returns
    -------
    int or None
    """
    return None if y.ndim == 1 else y.shape[1]


class LeastSquares(Adapter):
    """Base of the adapters of least-squares estimators: alpha is one number, or one per output."""

    def _check_alpha(self, alpha, y):
        if np.ndim(alpha) and np.shape(alpha) != y.shape[1:]:
            raise ValueError(f"alpha has shape {np.shape(alpha)}, but y {y.shape}")

    def _loss_and_ridge(self, values, train):
        total = train.weights.sum(1)
        if np.ndim(self.defaults["alpha"]):
            return losses.SquaredPerOutput(ValueOf(values, "alpha")), 1 / total
        return losses.Squared(), RidgeOf(values, "alpha", total)


class Classifier(Adapter):
    """Base of the adapters of classifiers: labels are ±1 for two classes, 0…K−1 for more."""

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
        """Labels as ±1 for two classes, as 0…K−1 for more."""
        index = np.searchsorted(self.classes, y)
        return 2.0 * index - 1.0 if len(self.classes) == 2 else index

    def outer_loss(self):
        """The logistic (softmax) likelihood of the scores."""
        return losses.Logistic() if len(self.classes) == 2 else losses.Multinomial()
