"""A digest of everything a run depends on, so that no run continues another's checkpoint."""

from __future__ import annotations

import functools
import hashlib
import re
import types

import jax
import numpy as np

from .stream import Stream

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(tree) -> str:
    """A digest of a pytree: its classes, static fields, numbers, and functions by their code.

    Functions count by their instructions, constants, names, defaults and what they close over, so
    that the same script gives the same digest in another process.
    """
    digest = hashlib.sha256()
    for part in _parts(tree, set()):
        digest.update(part if isinstance(part, bytes) else part.encode())
    return digest.hexdigest()


def _parts(value, seen):
    """Bytes and texts that describe ``value``."""
    if id(value) in seen:  # a function may close over itself
        return
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        yield f"{array.dtype}{array.shape}"
        yield array.tobytes()
    elif isinstance(value, Stream):
        yield value.fingerprint()
    elif isinstance(value, types.CodeType):
        yield value.co_code
        yield repr(value.co_names)
        for constant in value.co_consts:
            yield from _parts(constant, seen)
    elif isinstance(value, types.FunctionType):
        seen = seen | {id(value)}
        yield value.__qualname__
        yield from _parts(value.__code__, seen)
        yield from _parts((value.__defaults__, value.__kwdefaults__), seen)
        for cell in value.__closure__ or ():
            try:
                yield from _parts(cell.cell_contents, seen)
            except ValueError:  # closed over, and never assigned
                yield "empty cell"
    elif isinstance(value, functools.partial):
        yield from _parts((value.func, value.args, value.keywords), seen)
    else:
        yield from _tree_parts(value, seen)


def _tree_parts(value, seen):
    leaves, structure = jax.tree.flatten(value)
    yield ADDRESS.sub("", str(structure))
    if len(leaves) == 1 and leaves[0] is value:
        yield ADDRESS.sub("", f"{type(value).__qualname__} {value!r}")
        return
    for leaf in leaves:
        yield from _parts(leaf, seen)
