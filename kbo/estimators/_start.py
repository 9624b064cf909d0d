"""Where tuning starts: kernels by name, in the units of the data."""

from __future__ import annotations

import jax
import numpy as np

from .. import kernels

KERNELS = {
    "gaussian": kernels.Gaussian,
    "laplacian": kernels.Laplacian,
    "matern12": kernels.Matern12,
    "matern32": kernels.Matern32,
    "matern52": kernels.Matern52,
    "rational_quadratic": kernels.RationalQuadratic,
    "linear": kernels.Linear,
    "polynomial": kernels.Polynomial,
}


def input_scale(X, weight, ard):
    """Per-feature units in which the start lengthscale is √d (ARD), or one unit for all."""
    weight = weight / weight.sum()
    mean = weight @ X
    spread = np.sqrt(np.maximum(weight @ (X - mean) ** 2, 0.0))
    constant = spread <= 1e-12 * np.maximum(np.abs(mean), np.finfo(float).tiny)
    if ard:
        varying = max(1, int((~constant).sum()))
        return np.where(constant, np.maximum(np.abs(mean), 1.0), spread) * np.sqrt(varying)
    total = np.sqrt(np.sum(np.where(constant, 0.0, spread) ** 2))
    return np.float64(total if total > 0 else 1.0)


def ard_labels(ard, d):
    """``ard`` as labels: columns of X with the same one share a lengthscale.

    Returns
    -------
    ndarray (d,) of int, or None
        0…g−1 in the order of the labels given; None where one number serves all columns.

    Raises
    ------
    ValueError
        For anything but True, False or one integer for each of the d columns.
    """
    if isinstance(ard, bool | np.bool_):
        return np.arange(d) if ard else None
    labels = np.asarray(ard)
    if labels.shape != (d,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"ard={ard!r} must be True (a lengthscale for each column of X), False (one for all), "
            f"or {d} integers, one for each column: columns of the same label share a lengthscale"
        )
    return np.unique(labels, return_inverse=True)[1]


def tied_entries(kernel, labels):
    """For each leaf of the kernel, which of its entries are tuned as one.

    Parameters
    ----------
    kernel : Kernel
        From ``start_kernel``.
    labels : ndarray (d,) of int, or None
        From ``ard_labels``.

    Returns
    -------
    list of ndarray (k,) of int, or None
        An entry's place in the vector that is tuned; None for leaves tuned entry by entry. Parts
        of a kernel that see some columns only are tied among these.
    """
    sees_some = lambda part: isinstance(part, kernels.OnFeatures)  # noqa: E731
    found = []
    for path, part in jax.tree_util.tree_flatten_with_path(kernel, is_leaf=sees_some)[0]:
        columns = list(part.columns) if sees_some(part) else slice(None)
        leaves = jax.tree_util.tree_flatten_with_path(part)[0]
        for own_path, leaf in leaves:
            name = getattr((*path, *own_path)[-1], "name", "")
            if labels is None or name != "lengthscale" or np.ndim(leaf) == 0:
                found.append(None)
            else:
                found.append(np.unique(labels[columns], return_inverse=True)[1])
    return found


def start_kernel(kernel, lengthscale, ard, X, weight, groups=None) -> kernels.Kernel:
    """The kernel with its start values, from the estimators' parameters of these names.

    Raises
    ------
    ValueError
        For an unknown kernel, a lengthscale that is not positive, or labels of ``ard`` or groups
        that are not one for each feature.
    """
    if groups is not None:
        return _sum_over_groups(kernel, lengthscale, ard, X, weight, groups)
    names = [kernel] if isinstance(kernel, str) else kernel
    if callable(names) or isinstance(names, kernels.Kernel):
        if np.ndim(ard):
            raise ValueError(
                f"ard={ard!r} groups the columns of kernels given by name: give one of "
                f"{sorted(KERNELS)}, not kernel={kernel!r}"
            )
        return kernels.as_kernel(names)
    known = isinstance(names, list | tuple) and all(name in KERNELS for name in names)
    if not known or not names:
        raise ValueError(
            f"kernel={kernel!r} must be one of {sorted(KERNELS)}, a list of them (a "
            "mixture), a kbo.kernels.Kernel, or a callable k(x, z)"
        )
    labels = ard_labels(ard, X.shape[1])
    scale = input_scale(X, weight, labels is not None)
    if lengthscale is not None:
        given = np.asarray(lengthscale, float)
        if given.shape not in ((), np.shape(scale)):
            raise ValueError(
                f"lengthscale has shape {given.shape}: with ard={ard} it must be a number"
                + (f" or one for each of {X.shape[1]} features" if np.ndim(scale) else "")
            )
        scale = np.broadcast_to(given, np.shape(scale))
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"lengthscale={lengthscale!r} must be positive and finite")
    return mixture(names, np.array(scale))


def group_columns(groups, d):
    """The features of each group, in the order of the sorted labels.

    Raises
    ------
    ValueError
        If there is not one label for each of the d features.
    """
    labels = np.asarray(groups)
    if labels.shape != (d,):
        raise ValueError(f"groups has shape {labels.shape}: give a label for each of {d} features")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _sum_over_groups(kernel, lengthscale, ard, X, weight, groups):
    """Σ_g (1/G) k(x_g, z_g)."""
    if not isinstance(kernel, str) or kernel not in KERNELS:
        raise ValueError(f"kernel={kernel!r} must be one of {sorted(KERNELS)} with groups")
    members = group_columns(groups, X.shape[1])
    if np.ndim(lengthscale) and np.shape(lengthscale) != (X.shape[1],):
        raise ValueError(
            f"lengthscale has shape {np.shape(lengthscale)}: give a number, or one for each of "
            f"{X.shape[1]} features"
        )
    ard_labels(ard, X.shape[1])
    total = None
    for columns in members:
        given = lengthscale if np.ndim(lengthscale) == 0 else np.asarray(lengthscale)[columns]
        within = np.asarray(ard)[columns] if np.ndim(ard) else ard
        own = start_kernel(kernel, given, within, X[:, columns], weight)
        part = kernels.OnFeatures(own, columns) * (1.0 / len(members))
        total = part if total is None else total + part
    return total


def mixture(names, lengthscale) -> kernels.Kernel:
    """The kernels of these names, of one lengthscale and in equal parts."""
    parts = [KERNELS[name](lengthscale=lengthscale) for name in names]
    if len(parts) == 1:
        return parts[0]
    mixed = parts[0] * (1.0 / len(parts))
    for part in parts[1:]:
        mixed = mixed + part * (1.0 / len(parts))
    return mixed


def tuned_names(tune):
    """The estimators' parameter ``tune`` as a set of names, or None for all.

    Raises
    ------
    ValueError
        For a name that no parameter has.
    """
    if tune is None:
        return None
    names = [tune] if isinstance(tune, str) else list(tune)
    known = {
        "alpha", "lengthscale", "scale", "period", "exponent", "offset", "delta", "width",
        "centers",
    }
    unknown = sorted(set(names) - known)
    if unknown:
        raise ValueError(
            f"tune names {unknown}; choose among {sorted(known)}, or None for all but the centres"
        )
    return set(names)
