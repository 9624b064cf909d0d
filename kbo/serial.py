"""Files of pytrees of arrays, without pickle, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np


def write(file, tree, **named):
    """Write a pytree of arrays, and further arrays by name, to an open file.

    Lists, tuples and None are kept as such; any other node is stored as the list of its leaves, in
    JAX's order.

    Raises
    ------
    TypeError
        For a leaf that is not an array of numbers.
    """
    leaves = []
    skeleton = json.dumps(_skeleton(tree, leaves))
    parts = {f"leaf{k}": leaf for k, leaf in enumerate(leaves)}
    np.savez(file, skeleton=skeleton, **parts, **named)


def read(file):
    """(tree, named): what ``write`` wrote, with lists in place of tuples and other nodes."""
    with np.load(file, allow_pickle=False) as stored:
        known = dict(stored)
    skeleton = json.loads(str(known.pop("skeleton")))
    leaves = {name: known.pop(name) for name in list(known) if name.startswith("leaf")}
    return _filled(skeleton, leaves), known


def like(template, tree):
    """The leaves of a tree in the structure of ``template``, or ``template`` if they do not fit."""
    wanted, structure = jax.tree.flatten(template)
    leaves = jax.tree.leaves(tree)
    if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in wanted]:
        return template
    typed = [jnp.asarray(a, jnp.result_type(b)) for a, b in zip(leaves, wanted, strict=True)]
    return jax.tree.unflatten(structure, typed)


def _skeleton(tree, leaves):
    """The nesting as lists, with a description of each leaf, which is appended to ``leaves``."""
    if tree is None:
        return None
    if not isinstance(tree, list | tuple):
        inside = jax.tree.leaves(tree)
        if len(inside) == 1 and inside[0] is tree:
            return _described(np.asarray(tree), leaves)
        tree = inside
    return [_skeleton(part, leaves) for part in tree]


def _described(array, leaves):
    if array.dtype.kind == "O":
        raise TypeError(f"a warm start holds {array!r}, which is no array of numbers")
    described = {"leaf": len(leaves), "dtype": array.dtype.name, "shape": array.shape}
    own = array.dtype.kind == "V"  # JAX's own dtypes, like bfloat16, which .npz does not store
    leaves.append(np.frombuffer(array.tobytes(), np.uint8) if own else array)
    return described


def _filled(skeleton, leaves):
    if skeleton is None:
        return None
    if isinstance(skeleton, list):
        return [_filled(part, leaves) for part in skeleton]
    array = leaves[f"leaf{skeleton['leaf']}"]
    if array.dtype.name == skeleton["dtype"]:
        return array
    return np.frombuffer(array.tobytes(), jnp.dtype(skeleton["dtype"])).reshape(skeleton["shape"])


def write_atomically(path, write, mode="wb"):
    """Write a file through a temporary neighbour, so that readers see the old or the new file.

    Parameters
    ----------
    path : path-like
    write : callable
        Receives the open file.
    mode : str
    """
    path = Path(path)
    encoding = None if "b" in mode else "utf-8"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
