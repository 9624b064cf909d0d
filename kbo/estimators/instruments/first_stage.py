"""The first stage: the conditional mean embedding E[ψ(X) | Z], and its smoother."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from ...arithmetic import arrays
from ...losses import Squared
from ...problem import BilevelProblem, Sample
from ...programs import program
from .._common.folds import bucket, pad
from ..kernel.model import TunedAlpha, TunedRidge, TunedSpace

COMPONENTS = 16  # the first stage is judged on this many principal components of the features
NUGGET = 1e-9  # added to the diagonal, relative to its mean
NEGLIGIBLE = 1e-5  # eigenvalues below this fraction of the ridge are left out


def width(count):
    """``count`` rounded up to a multiple of 64: few sizes, so few compilations."""
    return -(-count // 64) * 64


@program
def _kernel_matrix(kernel, x, z):
    return kernel.matrix(x, z)


def kernel_matrix(kernel, x, z):
    """k(x_i, z_j), (n, m), for a kernel with NumPy parameters; padded, so few compilations."""
    kernel = arrays(kernel, np.float64)
    padded = _kernel_matrix(kernel, pad(x, bucket(len(x))), pad(z, bucket(len(z))))
    return np.array(padded)[: len(x), : len(z)]


def nystrom_features(kernel, centers, points):
    """Nyström features (n, M): φ(x)·φ(x') is k(x, x') projected onto the span of the centres."""
    matrix = kernel_matrix(kernel, centers, centers)
    matrix[np.diag_indices_from(matrix)] += NUGGET * np.trace(matrix) / len(matrix)
    root = scipy.linalg.cholesky(matrix, lower=True)
    cross = kernel_matrix(kernel, points, centers)
    return scipy.linalg.solve_triangular(root, cross.T, lower=True).T


def principal_components(features, weight):
    """The first COMPONENTS principal components (n, COMPONENTS) of features (n, M).

    Missing components are zero. The squared loss is invariant to rotations of its targets, and the
    components left out have little variance to be explained.
    """
    share = weight / weight.sum()
    centred = features - share @ features
    _, directions = np.linalg.eigh(centred.T @ (share[:, None] * centred))
    kept = directions[:, ::-1][:, :COMPONENTS]
    return np.pad(centred @ kept, ((0, 0), (0, COMPONENTS - kept.shape[1])))


def first_stage_problem(kernel, Z, targets, folds):
    """min over (alpha, k_Z) of mean_f mean_{test_f} ½‖g_f(z) − ψ(x)‖², g_f by kernel ridge.

    Parameters
    ----------
    kernel : Tunable
        k_Z at ω = 0, where alpha is 1.
    Z : ndarray (n, q)
    targets : ndarray (n, p)
        ψ(x), centred.
    folds : Folds
        The samples are in the order of these folds.
    """
    size = bucket(len(Z))
    extra = ((0, 0), (0, size - len(Z)))
    train, test = np.pad(folds.train, extra), np.pad(folds.test, extra)
    sample = Sample(pad(Z, size), pad(targets, size), train)
    return BilevelProblem(
        inner_loss=Squared(), outer_loss=Squared(),
        inner_data=sample, outer_data=Sample(sample.x, sample.target, test),
        space=TunedSpace(kernel), ridge=TunedRidge(TunedAlpha(np.ones(())), train.sum(1)),
        n_outputs=targets.shape[1],
    )


def smoother_rows(features, alpha, weight):
    """T (R, n) with TᵀT = WS, S = 1w̄ᵀ + Φ(ΦᵀWΦ + alpha·I)⁻¹ΦᵀW: kernel ridge regression on Z.

    Φ are the centred features of k_Z and w̄ = w/Σw; the constant is not penalised. For values g of
    a function at the samples, ‖Tg‖² = Σ_i w_i g_i Ê[g | z_i] measures what is seen of g through Z.

    Eigendirections of ΦᵀWΦ below NEGLIGIBLE·alpha change the smoothed values by at most the
    fraction NEGLIGIBLE, and are left out. At least the last row of T is zero.

    Parameters
    ----------
    features : ndarray (n, M)
    alpha : float
    weight : ndarray (n,)
        Samples of weight zero have no influence.
    """
    total = weight.sum()
    features = features - (weight / total) @ features
    weighted = weight[:, None] * features
    levels, directions = np.linalg.eigh(features.T @ weighted)
    kept = levels > NEGLIGIBLE * alpha
    levels = levels[kept]
    S = 1 + len(levels)
    rows = np.zeros((width(S + 1), len(features)))
    rows[0] = weight / np.sqrt(total)
    rows[1:S] = (weighted @ (directions[:, kept] / np.sqrt(levels + alpha))).T
    return rows
