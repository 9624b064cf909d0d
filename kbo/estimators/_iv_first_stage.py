"""The first stage: the conditional mean embedding E[ψ(X_E) | Z], and its smoother."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import numpy as np
import scipy.linalg

from ..hypergradients.base import arrays
from ..losses import Squared
from ..problem import BilevelProblem, Sample
from ._folds import bucket, pad
from ._model import TunedAlpha, TunedRidge, TunedSpace

N_OUTPUTS = 8  # principal components of the features that the first stage is judged on
NUGGET = 1e-9
NEGLIGIBLE = 1e-5  # of the ridge: directions in which the first stage's data say nothing


def width(count):
    """A number of features padded to one of few sizes."""
    return -(-count // 64) * 64


@eqx.filter_jit
def _kernel_matrix(kernel, x, z):
    return kernel.matrix(x, z)


def kernel_matrix(kernel, x, z):
    """k(x_i, z_j), (n, m), of a kernel with NumPy parameters; few sizes are compiled."""
    kernel = arrays(kernel, np.float64)
    padded = _kernel_matrix(kernel, pad(x, bucket(len(x))), pad(z, bucket(len(z))))
    return np.array(padded)[: len(x), : len(z)]


def nystrom_features(kernel, centers, points):
    """Features (n, M) with φ(x)·φ(x') = k(x, x') on the span of the centres."""
    matrix = kernel_matrix(kernel, centers, centers)
    matrix[np.diag_indices_from(matrix)] += NUGGET * np.trace(matrix) / len(matrix)
    root = scipy.linalg.cholesky(matrix, lower=True)
    cross = kernel_matrix(kernel, points, centers)
    return scipy.linalg.solve_triangular(root, cross.T, lower=True).T


def principal_components(features, weight):
    """The first N_OUTPUTS principal components (n, N_OUTPUTS) of features (n, M), zeros after.

    A squared loss does not change when its targets are rotated, and what is left out has little
    variance to be explained.
    """
    share = weight / weight.sum()
    centred = features - share @ features
    _, directions = np.linalg.eigh(centred.T @ (share[:, None] * centred))
    kept = directions[:, ::-1][:, :N_OUTPUTS]
    return np.pad(centred @ kept, ((0, 0), (0, N_OUTPUTS - kept.shape[1])))


def first_stage_problem(kernel, Z, targets, folds):
    """min over (alpha, k_Z) of Σ_f mean_{test_f} ½‖g_f(z) − ψ(x)‖², g_f ridge regression.

    Parameters
    ----------
    kernel : Tunable
        k_Z at ω = 0; alpha is 1 there.
    Z : ndarray (n, q)
    targets : ndarray (n, N_OUTPUTS)
        ψ(x), centred.
    folds : Folds
        In whose order the samples are.
    """
    size = bucket(len(Z))
    extra = ((0, 0), (0, size - len(Z)))
    train, test = np.pad(folds.train, extra), np.pad(folds.test, extra)
    sample = Sample(pad(Z, size), pad(targets, size), train)
    return BilevelProblem(
        inner_loss=Squared(), outer_loss=Squared(),
        inner_data=sample, outer_data=Sample(sample.x, sample.target, test),
        space=TunedSpace(kernel), ridge=TunedRidge(TunedAlpha(np.ones(())), train.sum(1)),
        n_outputs=N_OUTPUTS,
    )


class Smoother(NamedTuple):
    """Kernel ridge regression on Z, linear in what it smooths: Ê[g(X) | z_i] = s_iᵀ B g(X).

        s(z) = (1, φ(z))    B = (w̄; (ΦᵀWΦ + alpha I)⁻¹ ΦᵀW (I − 1w̄ᵀ)),  w̄ = w/Σw

    Attributes
    ----------
    points : ndarray (n, S)
        s_i.
    maps : ndarray (S, n)
        B; it does not depend on the kernel of X.
    levels : ndarray (S − 1,)
        The diagonal of ΦᵀWΦ.
    alpha : float
    """

    points: np.ndarray
    maps: np.ndarray
    levels: np.ndarray
    alpha: float

    def __call__(self, values):
        """Ê[g | z_i] for values (n,) or (n, k) of g."""
        return self.points @ (self.maps @ values)

    def freedom(self, alpha=None):
        """The trace of the smoother, the constant not counted; at another alpha if given."""
        return float(np.sum(self.levels / (self.levels + (self.alpha if alpha is None else alpha))))


def make_smoother(kernel, alpha, Z, centers, weight) -> Smoother:
    """The first stage on all samples, in the span of the centres.

    φ is rotated so that ΦᵀWΦ is diagonal; directions in which it is below NEGLIGIBLE·alpha change
    no smoothed value by more than that fraction, and are left out.
    """
    features = nystrom_features(kernel, centers, Z)
    weighted = weight[:, None] * features
    levels, directions = np.linalg.eigh(features.T @ weighted)
    kept = levels > NEGLIGIBLE * alpha
    levels = levels[kept]
    share = weight / weight.sum()
    solved = (weighted @ (directions[:, kept] / (levels + alpha))).T
    solved -= solved.sum(1, keepdims=True) * share
    S = 1 + len(levels)
    points, maps = np.zeros((len(Z), width(S))), np.zeros((width(S), len(Z)))
    points[:, 0], maps[0] = 1.0, share
    points[:, 1:S], maps[1:S] = features @ directions[:, kept], solved
    return Smoother(points, maps, levels, alpha)
