"""Files that are whole or not there, and pytrees of arrays in them. Nothing is pickled."""

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
    """Write a pytree of arrays, and more arrays by name, to an open file.

    Lists, tuples and dicts keep their structure; of any other node only its leaves are kept.
    """
    leaves = []
    skeleton = json.dumps(_skeleton(tree, leaves))
    parts = {f"leaf{k}": leaf for k, leaf in enumerate(leaves)}
    np.savez(file, skeleton=skeleton, **parts, **named)


def read(file):
    """(tree, names): what ``write`` wrote, tuples and other nodes as lists; None stays None."""
    with np.load(file, allow_pickle=False) as stored:
        known = dict(stored)
    skeleton = json.loads(str(known.pop("skeleton")))
    leaves = {name: known.pop(name) for name in list(known) if name.startswith("leaf")}
    return _filled(skeleton, leaves), known


def like(template, tree):
    """The leaves of a tree in the structure of a template; the template where they do not fit."""
    wanted, structure = jax.tree.flatten(template)
    leaves = jax.tree.leaves(tree)
    if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in wanted]:
        return template
    typed = [jnp.asarray(a, b.dtype) for a, b in zip(leaves, wanted, strict=True)]
    return jax.tree.unflatten(structure, typed)


def _skeleton(tree, leaves):
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {key: _skeleton(part, leaves) for key, part in tree.items()}
    if not isinstance(tree, list | tuple):
        inside = jax.tree.leaves(tree)
        if len(inside) == 1 and inside[0] is tree:
            leaves.append(np.asarray(tree))
            return len(leaves) - 1
        tree = inside
    return [_skeleton(part, leaves) for part in tree]


def _filled(skeleton, leaves):
    if skeleton is None:
        return None
    if isinstance(skeleton, dict):
        return {key: _filled(part, leaves) for key, part in skeleton.items()}
    if isinstance(skeleton, list):
        return [_filled(part, leaves) for part in skeleton]
    return leaves[f"leaf{skeleton}"]


def write_atomically(path, write, mode="wb"):
    """Write a file through a temporary neighbour, so that readers see the old or the new one.

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
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
