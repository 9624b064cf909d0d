"""The start of tuning: kernels by name, with lengthscales in the units of the data."""

from __future__ import annotations

import jax
import numpy as np

from ... import kernels
from .widths import bucket_of_columns

AUTO = "auto"  # the name of a kernel for tables
WARPED = ("matern32", "laplacian")  # its parts
LITTLE = 0.1  # start of the scale of the second, lest it take what the first can explain as well
PLAIN = "matern32"  # what stands for it where there is no likelihood to choose so many numbers


def tied_entries(ard, given, kernel, units):
    """For each leaf of a start kernel, which of its entries share a tuned factor.

    Parameters
    ----------
    ard, given
        The estimator's parameters ``ard`` and ``kernel``.
    kernel : Kernel
        The result of ``start_kernel`` for ``given``.
    units : Units
        All coordinates of a column share a factor; with ``ard=True`` those of a variable do.

    Returns
    -------
    list of ndarray (k,) of int, or None
        For each entry of a leaf, the index of its factor in the tuned vector; None for leaves of
        which every entry has its own. Within a part of the kernel that sees some columns only, the
        indices are among these columns.

    Raises
    ------
    ValueError
        If ``ard`` is not True, False or one integer for each column, or if it is integers and the
        kernel is not given by name.
    """
    labels = _ard_labels(ard, units)
    if kernel_names(given) is None:
        if np.ndim(ard):
            raise ValueError(
                f"ard={ard!r} groups the columns of kernels given by name: give one of "
                f"{sorted(kernels.NAMED)}, not kernel={given!r}"
            )
        return [None] * len(jax.tree.leaves(kernel))
    own = np.unique(units.variable, return_inverse=True)[1]
    of_curves = _of_varying(own, np.where(units.curved & (units.spread > 0), 1.0, np.inf))
    sees_some = lambda part: isinstance(part, kernels.OnFeatures)  # noqa: E731
    found = []
    for path, part in jax.tree_util.tree_flatten_with_path(kernel, is_leaf=sees_some)[0]:
        columns = list(part.columns) if sees_some(part) else slice(None)
        place = np.unique(labels[columns], return_inverse=True)[1]
        for own_path, leaf in jax.tree_util.tree_flatten_with_path(part)[0]:
            name = getattr((*path, *own_path)[-1], "name", "")
            tied = {"lengthscale": _of_varying(place, leaf), "skew": of_curves}
            found.append(tied.get(name))
    return found


def _of_varying(place, lengthscale):
    """The places of columns that vary, from 0; constant ones, whose factor does nothing, join one.
    """
    varies = np.broadcast_to(np.isfinite(lengthscale), place.shape)
    first = place[varies][:1] if varies.any() else place[:1]
    return np.unique(np.where(varies, place, first), return_inverse=True)[1]


def _ard_labels(ard, units):
    """``ard`` as a label for each coordinate: those with the same label share a tuned factor."""
    if isinstance(ard, bool | np.bool_):
        return units.variable if ard else np.zeros_like(units.variable)
    labels, d = np.asarray(ard), units.n_columns
    if labels.shape != (d,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"ard={ard!r} must be True (a lengthscale for each column of X), False (one for all), "
            f"or {d} integers, one for each column: columns of the same label share a lengthscale"
        )
    return labels[units.column]


def start_kernel(kernel, lengthscale, units, groups=None, spreads=1.0) -> kernels.Kernel:
    """The kernel at its start values, from an estimator's ``kernel``, ``lengthscale``, ``groups``.

    If ``lengthscale`` is None, it is ``spreads`` times that of the ``units``.

    Raises
    ------
    ValueError
        For an unknown kernel, a lengthscale that is not positive or of the wrong size, or groups
        that are not one label for each feature.
    """
    if groups is not None:
        return _sum_over_groups(kernel, lengthscale, units, groups)
    if callable(kernel) or isinstance(kernel, kernels.Kernel):
        return kernels.as_kernel(kernel)
    names = kernel_names(kernel)
    if names is None:
        raise ValueError(
            f"kernel={kernel!r} must be one of {sorted(kernels.NAMED)}, a list of them (a "
            "mixture), a kbo.kernels.Kernel, or a callable k(x, z)"
        )
    if lengthscale is None:
        scale = spreads * units.lengthscale()
    else:
        scale = _given_lengthscale(lengthscale, units)
    return mixture(names, scale, units)


def chosen_kernel(kernel, by_likelihood):
    """An estimator's ``kernel``, where "auto" is PLAIN unless the likelihood is what is tuned."""
    auto = isinstance(kernel, str) and kernel == AUTO
    return PLAIN if auto and not by_likelihood else kernel


def kernel_names(kernel):
    """The names that an estimator's ``kernel`` consists of, or None if it is not given by names."""
    if isinstance(kernel, str) and kernel == AUTO:
        return (AUTO,)
    names = [kernel] if isinstance(kernel, str) else kernel
    named = isinstance(names, list | tuple) and len(names) > 0
    named = named and all(isinstance(name, str) and name in kernels.NAMED for name in names)
    return tuple(names) if named else None


def lengthscale_of(kernel):
    """The lengthscale of a kernel or mixture: 1/ℓ = Σ_p c_p/ℓ_p / Σ_p c_p; None if it has none.

    c_p and ℓ_p are the scales and the lengthscales of the parts of a sum.
    """
    parts = _parts(kernel)
    if len({np.shape(length) for _, length in parts}) != 1 or parts[0][1] is None:
        return None
    if len(parts) == 1:
        return parts[0][1]
    share = np.array([scale for scale, _ in parts]) / sum(scale for scale, _ in parts)
    with np.errstate(divide="ignore"):
        return 1 / np.tensordot(share, [1 / np.asarray(length) for _, length in parts], 1)


def _parts(kernel, scale=1.0):
    """(scale, lengthscale or None) of the parts of a sum."""
    if isinstance(kernel, kernels.Sum):
        return _parts(kernel.left, scale) + _parts(kernel.right, scale)
    if isinstance(kernel, kernels.Scaled):
        return _parts(kernel.kernel, scale * float(kernel.scale))
    if isinstance(kernel, kernels.Warped):
        return _parts(kernel.kernel, scale)
    return [(scale, getattr(kernel, "lengthscale", None))]


def _given_lengthscale(lengthscale, units):
    """The given lengthscale for each coordinate, from one number or one for each feature."""
    given, d = np.asarray(lengthscale), units.n_columns
    if given.dtype.kind not in "fiu" or given.shape not in ((), (d,)):
        raise ValueError(
            f"lengthscale={lengthscale!r} must be a number, or one for each of {d} features"
        )
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"lengthscale={lengthscale!r} must be positive and finite")
    return np.array(np.broadcast_to(given, d), float)[units.column]


def group_columns(groups, units):
    """A list with the coordinates of each group of features, in the order of the sorted labels.

    Raises
    ------
    ValueError
        If there is not one label for each feature.
    """
    labels, d = np.asarray(groups), units.n_columns
    if labels.shape != (d,):
        raise ValueError(f"groups has shape {labels.shape}: give a label for each of {d} features")
    return [np.flatnonzero((labels == label)[units.column]) for label in np.unique(labels)]


def _sum_over_groups(kernel, lengthscale, units, groups):
    """Σ_g (1/G) k(x_g, z_g): a sum over groups of features, in equal parts."""
    if not isinstance(kernel, str) or kernel not in kernels.NAMED:
        raise ValueError(f"kernel={kernel!r} must be one of {sorted(kernels.NAMED)} with groups")
    members = group_columns(groups, units)
    given = None if lengthscale is None else _given_lengthscale(lengthscale, units)
    total = None
    for columns in members:
        own = units.take(columns)
        part = mixture((kernel,), own.lengthscale() if given is None else given[columns], own)
        part = kernels.OnFeatures(part, columns)
        part = part * (1.0 / len(members))
        total = part if total is None else total + part
    return total


def mixture(names, lengthscale, units, share=1.0) -> kernels.Kernel:
    """The first kernel plus ``share`` times each of the others, all with the same lengthscale.

    The first has no scale: a factor on all of them would do what alpha does.
    Kernels of inner products see the points minus the ``units``' center; the others depend on
    differences of points alone. "auto" stands for WARPED of features that are transformed.
    """
    if names == (AUTO,):
        inner = mixture(WARPED, lengthscale, units, LITTLE)
        spread = units.spread * units.curved
        return kernels.Warped(inner, units.center, spread, np.ones(len(spread)))
    # In a bucket, like widths: some levels may well be taken for numbers.
    others = len(units.column) - units.levels
    numbers = bucket_of_columns(others) if units.levels else None
    parts = []
    for kind in (kernels.NAMED[name] for name in names):
        own = {"center": units.center} if "center" in kind.__dataclass_fields__ else {}
        if kind is kernels.Laplacian:
            own["numbers"] = numbers
        parts.append(kind(lengthscale=lengthscale, **own))
    mixed = parts[0]
    for part in parts[1:]:
        mixed = mixed + part * share
    return mixed
