"""The bilevel problem behind the estimators: positive hyperparameters, tuned in logs.

The classes here are Equinox modules with array leaves: two fits of the same kind differ in numbers
only, so that they share compiled programs.
"""

from __future__ import annotations

import itertools
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ...arithmetic import arrays, exp, known
from ...kernels import Kernel
from ...losses import Loss, SquaredPerOutput, as_loss
from ...module import Module
from ...optimizers import InStages
from ...parameters import Tunable
from ...problem import BilevelProblem, Sample
from ...programs import program
from ...spaces import RKHS
from .._common.folds import bucket, pad
from .._common.widths import Widths
from .prior import KernelPrior, WeightedPrior

LOG_RANGE = 9.0
ALPHA_REACH = np.log(1e3)
LOSS_LOG_RANGE = 3.0  # smaller, since a loss whose width tends to zero is no longer smooth


@program
def _diagonal(kernel, X):
    return jax.vmap(kernel.evaluate)(X, X)


def kernel_diagonal(kernel, X):
    """k(x_i, x_i), (n,), for a kernel with NumPy parameters, in the current precision."""
    return np.asarray(_diagonal(arrays(kernel, X.dtype), pad(X, bucket(len(X)))))[: len(X)]


class TunedSpace(Module):
    """ω ↦ the RKHS of the kernel at ω["kernel"]."""

    kernel: Tunable

    def __call__(self, omega):
        return RKHS(self.kernel.at(omega["kernel"]))


class TunedAlpha(Module):
    """ω ↦ alpha₀ exp(ω["alpha"]), with alpha₀'s shape; alpha₀ if alpha is not tuned."""

    start: Any

    def __call__(self, omega):
        return known(self.start) * (exp(omega["alpha"]) if "alpha" in omega else 1.0)


class TunedRidge(Module):
    """ω ↦ alpha/Σw for each fold, all with the same alpha.

    If every output has its own alpha, these are part of the loss, and the ridge is 1/Σw.
    """

    alpha: TunedAlpha
    total: Any

    def __call__(self, omega):
        return (1.0 if self.alpha.start.ndim else self.alpha(omega)) / known(self.total)


class TunedLoss(Loss):
    """ℓ(ω, c + v, t): the loss at ω[key] of the prediction plus the offset c."""

    loss: Tunable
    offset: Any
    key: str = eqx.field(static=True)

    def __call__(self, omega, prediction, target):
        return self.loss.at(omega[self.key])(omega, self.offset + prediction, target)

    def probabilities(self, omega, prediction):
        """The loss's class probabilities at the prediction plus the offset."""
        loss = as_loss(self.loss.at(omega[self.key]))
        return loss.probabilities(omega, self.offset + prediction)


class Model(Module):
    """Kernel, losses and alpha at their start values; poses the bilevel problem for samples.

    Attributes
    ----------
    kernel, inner_loss, outer_loss : Tunable
    alpha : array () or (p,)
    tune_alpha : bool
    offset : array () or (p,)
        The best constant prediction; h models the difference to it.
    prior : KernelPrior
    n_outputs : int or None
    widths : Widths
        Of the points, with columns of zeros.
    center_shape : pair of int or None
        The shape of the centres if they are learned, otherwise None.
    """

    kernel: Tunable
    inner_loss: Tunable
    outer_loss: Tunable
    alpha: Any
    offset: Any
    prior: KernelPrior
    tune_alpha: bool = eqx.field(static=True)
    n_outputs: int | None = eqx.field(static=True)
    widths: Widths = eqx.field(static=True)
    center_shape: tuple[int, int] | None = eqx.field(static=True, default=None)

    def start(self):
        """ω₀: all logs and all shifts of centres are zero."""
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

    def scaled_start(self, length=1.0, alpha=1.0):
        """ω₀ with tuned lengthscales times ``length`` and alpha, if tuned, times ``alpha``."""
        omega = self.start()
        shift = np.clip(np.log(length), -LOG_RANGE, LOG_RANGE)
        omega["kernel"] = [
            log + shift * (name == "lengthscale")
            for name, log in zip(self.kernel.names(), omega["kernel"], strict=True)
        ]
        return {**omega, "alpha": omega["alpha"] + np.log(alpha)} if self.tune_alpha else omega

    def stages(self):
        """Labels (q,) of the entries of the flat ω for each stage of a search before the last.

        "common lengthscale": all lengthscales of one kernel move together; "no curves": each moves
        alone. In both the skews of features are held. A stage that is as the next one is left out.
        """
        common, own = self._labels(True, False), self._labels(False, False)
        found = {}
        if common.max(initial=-1) < own.max(initial=-1):
            found["common lengthscale"] = common
        if "skew" in self.kernel.names():
            found["no curves"] = own
        return found

    def tied_lengthscales(self):
        """Labels (q,) by which lengthscales of one kernel move together, and all else alone."""
        return self._labels(True, True)

    def _labels(self, common, curves):
        """Labels (q,) of the entries of the flat ω: 0, 1, … of those that move, by what they move
        with. These are the lengthscales of one kernel if ``common``; skews move if ``curves``.
        """
        alone = itertools.count()
        others = lambda log: np.array([next(alone) for _ in range(np.size(log))], int)  # noqa: E731
        labels = {part: jax.tree.map(others, logs) for part, logs in self.start().items()}
        labels["kernel"] = [
            np.where(
                used & (curves or name != "skew"),
                next(alone) if common and name == "lengthscale" else others(log), InStages.held,
            )
            for name, log, used in self._kernel_logs()
        ]
        flat = np.concatenate([np.zeros(0, int), *map(np.ravel, jax.tree.leaves(labels))])
        moving = flat != InStages.held
        flat[moving] = np.unique(flat[moving], return_inverse=True)[1]
        return flat

    def _kernel_logs(self):
        """(name, log at the start, which of its numbers belong to columns that are not zeros)."""
        used = map(np.ravel, self.widths.used(self.kernel))
        return zip(self.kernel.names(), self.kernel.start(), used, strict=True)

    def count(self):
        """How many numbers are tuned, positions of centres aside."""
        omega = {**self.start(), "kernel": [used[used] for _, _, used in self._kernel_logs()]}
        omega.pop("centers", None)
        return sum(map(np.size, jax.tree.leaves(omega)))

    def reaches(self):
        """How far each entry of ω may go from the start, and how far its bound is then moved.

        This is 9 for logs of the kernel, for other logs of losses and for centres, 3 for logs of
        the inner loss, and log 1000 for alpha (whose bounds at the start are set by ``bounds``).
        """
        reaches = jax.tree.map(lambda v: np.full(np.shape(v), LOG_RANGE), self.start())
        reaches["inner"] = [np.full(np.shape(log), LOSS_LOG_RANGE) for log in reaches["inner"]]
        if self.tune_alpha:
            reaches["alpha"] = np.full(self.alpha.shape, ALPHA_REACH)
        return reaches

    def bounds(self, X, weight):
        """The box (lower, upper) of the search: ±``reaches``, except for alpha.

        alpha ranges where the problem is well posed, from 1e-6 to 1e4·Σw times the mean of k(x, x),
        extended to its start if necessary.
        """
        upper = self.reaches()
        lower = jax.tree.map(np.negative, upper)
        if self.tune_alpha:
            diagonal = kernel_diagonal(self.kernel.base, X)
            size = max(float(np.average(diagonal, weights=weight)), np.finfo(float).tiny)
            lower["alpha"] = np.minimum(np.log(1e-6 * size / self.alpha), 0.0)
            upper["alpha"] = np.maximum(np.log(1e4 * weight.sum() * size / self.alpha), 0.0)
        return lower, upper

    def problem(self, X, targets, train, test, prior_weight=0.0) -> BilevelProblem:
        """The problem with inner weights ``train`` and outer weights ``test``, (F, n) each.

        Both losses are on the same points X. ``targets`` is the pair of targets of the inner and of
        the outer loss. ``prior_weight`` times the prior is added to L.
        """
        inner, inner_target = TunedLoss(self.inner_loss, self.offset, "inner"), targets[0]
        base = self.inner_loss.base
        if as_loss(base).constant_curvature:
            # Subtract the offset from the target instead of wrapping the loss, so that the solver
            # sees a loss of constant curvature, for which a single solve is exact.
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
            penalty=WeightedPrior(self.prior, prior_weight),
            n_outputs=self.n_outputs,
        )

    def alpha_at(self, omega):
        """alpha at ω: a number, or an array with one for each output."""
        alpha = self.alpha * np.exp(omega.get("alpha", 0.0))
        return np.array(alpha) if np.ndim(alpha) else float(alpha)

    def kernel_at(self, omega) -> Kernel:
        """The kernel at ω, with NumPy parameters so that it can be stored and pickled."""
        return self.widths.own_kernel(self.kernel.at(omega["kernel"], np.exp))
