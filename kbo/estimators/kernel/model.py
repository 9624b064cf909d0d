"""The bilevel problem behind the estimators: positive hyperparameters, tuned in logs.

Everything here is an Equinox module with array leaves: two fits of one kind differ in numbers
only, so they share their compilations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...arithmetic import arrays
from ...kernels import Kernel
from ...losses import Loss, SquaredPerOutput, as_loss
from ...problem import BilevelProblem, Sample
from ...programs import program
from ...spaces import RKHS
from .._common.folds import bucket, pad

KERNEL_FIXED, LOSS_FIXED = {"center"}, {"quantile", "unit"}  # never tuned: no matters of fit
LOG_RANGE = 9.0
ALPHA_REACH = np.log(1e3)
LOSS_LOG_RANGE = 3.0  # a loss whose width tends to nothing is no longer smooth


def _named_leaves(tree):
    """(name, leaf) of every leaf of a kernel or loss; the name is its last attribute."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(getattr(path[-1], "name", "") if path else "", leaf) for path, leaf in paths]


def _is_number(leaf) -> bool:
    number = float | int | np.ndarray | np.number | jax.Array
    return isinstance(leaf, number) and not isinstance(leaf, bool)


def named_numbers(tree):
    """(name, number) of every numeric leaf of a kernel or loss."""
    return [(name, leaf) for name, leaf in _named_leaves(tree) if _is_number(leaf)]


@program
def _diagonal(kernel, X):
    return jax.vmap(kernel.evaluate)(X, X)


def kernel_diagonal(kernel, X):
    """k(x_i, x_i), (n,), of a kernel with NumPy parameters; in the current precision."""
    return np.asarray(_diagonal(arrays(kernel, X.dtype), pad(X, bucket(len(X)))))[: len(X)]


class Tunable(eqx.Module):
    """A kernel or loss whose positive parameters are multiplied by exp(log).

    Parameters
    ----------
    base : pytree
        The values at log = 0, NumPy arrays.
    tuned : tuple of bool
        Which leaves, in flattening order.
    tied : list of ndarray of int, or None
        For each leaf, which entry of its log each of its entries is multiplied by; None where
        there is one for each.
    """

    base: Any
    tuned: tuple[bool, ...] = eqx.field(static=True)
    tied: Any

    @classmethod
    def of(cls, base, tune, fixed=(), tied=None):
        """Tune every positive number whose name ``tune`` admits.

        Parameters
        ----------
        tune : None or container of str
            None admits all.
        fixed : container of str
            Names never tuned.
        tied : list, optional
            See the class; by default no two entries share a log.
        """
        base = jax.tree.map(lambda v: np.array(v, float) if _is_number(v) else v, base)
        admits = lambda name: name not in fixed and (tune is None or name in tune)  # noqa: E731
        tuned = tuple(
            _is_number(leaf) and admits(name) and bool((leaf > 0).all())
            for name, leaf in _named_leaves(base)
        )
        return cls(base, tuned, [None] * len(tuned) if tied is None else tied)

    def at_base(self, base):
        """The same parameters tuned, from other values."""
        base = jax.tree.map(lambda v: np.array(v, float) if _is_number(v) else v, base)
        return replace(self, base=base)

    def start(self):
        """Zero logs, one array per tuned leaf."""
        leaves = zip(jax.tree.leaves(self.base), self.tuned, self.tied, strict=True)
        return [
            np.zeros(np.shape(leaf) if tied is None else tied.max() + 1)
            for leaf, tuned, tied in leaves if tuned
        ]

    def names(self):
        """The tuned leaves' names."""
        named = _named_leaves(self.base)
        return [name for (name, _), tuned in zip(named, self.tuned, strict=True) if tuned]

    def at(self, logs, exp=jnp.exp):
        """The kernel or loss at these logs."""
        leaves, structure = jax.tree.flatten(self.base)
        logs = iter(logs)
        factor = lambda tied: exp(next(logs))[... if tied is None else tied]  # noqa: E731
        scaled = [
            _times(leaf, factor(tied)) if tuned else leaf
            for leaf, tuned, tied in zip(leaves, self.tuned, self.tied, strict=True)
        ]
        return jax.tree.unflatten(structure, scaled)


def _times(value, factor):
    """Their product; where the value is infinite its derivative in the factor is 0, not NaN."""
    xp = np if isinstance(factor, np.ndarray | np.generic) else jnp
    finite = xp.isfinite(value)
    return xp.where(finite, xp.where(finite, value, 1.0) * factor, value)


class TunedSpace(eqx.Module):
    """ω ↦ RKHS of the kernel at ω["kernel"]."""

    kernel: Tunable

    def __call__(self, omega):
        return RKHS(self.kernel.at(omega["kernel"]))


class TunedAlpha(eqx.Module):
    """ω ↦ alpha₀ exp(ω["alpha"]), of alpha₀'s shape."""

    start: Any

    def __call__(self, omega):
        return self.start * (jnp.exp(omega["alpha"]) if "alpha" in omega else 1.0)


class TunedRidge(eqx.Module):
    """ω ↦ alpha/Σw; folds share alpha. Where every output has its own, they are in the loss."""

    alpha: TunedAlpha
    total: Any

    def __call__(self, omega):
        return (1.0 if self.alpha.start.ndim else self.alpha(omega)) / self.total


class TunedLoss(Loss):
    """The loss at ω[key], of the offset prediction: ℓ(ω, c + v, t)."""

    loss: Tunable
    offset: Any
    key: str = eqx.field(static=True)

    def __call__(self, omega, prediction, target):
        return self.loss.at(omega[self.key])(omega, self.offset + prediction, target)

    def probabilities(self, omega, prediction):
        """See Loss."""
        loss = as_loss(self.loss.at(omega[self.key]))
        return loss.probabilities(omega, self.offset + prediction)


class Model(eqx.Module):
    """Kernel, losses and alpha with their start values; makes problems out of samples.

    Attributes
    ----------
    kernel, inner_loss, outer_loss : Tunable
    alpha : array () or (p,)
    tune_alpha : bool
    offset : array () or (p,)
        The best constant prediction; h models what is left.
    n_outputs : int or None
    center_shape : pair of int or None
        Of the centres, where they are learned.
    """

    kernel: Tunable
    inner_loss: Tunable
    outer_loss: Tunable
    alpha: Any
    offset: Any
    tune_alpha: bool = eqx.field(static=True)
    n_outputs: int | None = eqx.field(static=True)
    center_shape: tuple[int, int] | None = eqx.field(static=True, default=None)

    def start(self):
        """ω₀: all logs zero, and centres moved by nothing."""
        omega = {
            "kernel": self.kernel.start(),
            "inner": self.inner_loss.start(),
            "outer": self.outer_loss.start(),
        }
        if self.center_shape is not None:
            omega["centers"] = np.zeros(self.center_shape)
        return {**omega, "alpha": np.zeros(self.alpha.shape)} if self.tune_alpha else omega

    @property
    def has_lengthscale(self):
        """Whether some lengthscale is tuned."""
        return "lengthscale" in self.kernel.names()

    def shorter(self, k):
        """ω₀ with every tuned lengthscale divided by 2^k, as far as the bounds go."""
        omega = self.start()
        shift = min(k * np.log(2.0), LOG_RANGE)
        omega["kernel"] = [
            log - shift * (name == "lengthscale")
            for name, log in zip(self.kernel.names(), omega["kernel"], strict=True)
        ]
        return omega

    def reaches(self):
        """How far logs may go from the start, and how far a bound moves: 9, 3 for inner losses."""
        reaches = jax.tree.map(lambda v: np.full(np.shape(v), LOG_RANGE), self.start())
        reaches["inner"] = [np.full(np.shape(log), LOSS_LOG_RANGE) for log in reaches["inner"]]
        if self.tune_alpha:
            reaches["alpha"] = np.full(self.alpha.shape, ALPHA_REACH)
        return reaches

    def bounds(self, X, weight):
        """Logs as far as ``reaches``; alpha where all is well posed.

        That is between 1e-6 and 1e4·Σw times the mean of k(x, x), and includes the start.
        """
        upper = self.reaches()
        lower = jax.tree.map(np.negative, upper)
        if self.tune_alpha:
            diagonal = kernel_diagonal(self.kernel.base, X)
            size = max(float(np.average(diagonal, weights=weight)), np.finfo(float).tiny)
            lower["alpha"] = np.minimum(np.log(1e-6 * size / self.alpha), 0.0)
            upper["alpha"] = np.maximum(np.log(1e4 * weight.sum() * size / self.alpha), 0.0)
        return lower, upper

    def problem(self, X, targets, train, test) -> BilevelProblem:
        """Train with weights ``train`` (F, n), judge with ``test`` (F, n), on the same points.

        ``targets`` is the pair of what the inner and what the outer loss compare with.
        """
        inner, inner_target = TunedLoss(self.inner_loss, self.offset, "inner"), targets[0]
        base = self.inner_loss.base
        if as_loss(base).constant_curvature:
            # The offset comes off the target, and the solver sees that one solve is exact.
            inner, inner_target = base, targets[0] - self.offset
            if self.alpha.ndim:
                inner = SquaredPerOutput(TunedAlpha(self.alpha))
        sample = Sample(X, inner_target, train)
        return BilevelProblem(
            inner_loss=inner,
            outer_loss=TunedLoss(self.outer_loss, self.offset, "outer"),
            inner_data=sample,
            outer_data=Sample(sample.x, targets[1], test),
            space=TunedSpace(self.kernel),
            ridge=TunedRidge(TunedAlpha(self.alpha), train.sum(1)),
            n_outputs=self.n_outputs,
        )

    def alpha_at(self, omega):
        """A number, or an array of one for each output."""
        alpha = self.alpha * np.exp(omega.get("alpha", 0.0))
        return np.array(alpha) if np.ndim(alpha) else float(alpha)

    def kernel_at(self, omega) -> Kernel:
        """The kernel with NumPy parameters, ready to be stored and pickled."""
        return self.kernel.at(omega["kernel"], np.exp)
