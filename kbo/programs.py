"""Compiled programs that serve every problem of the same code, and are forgotten in the end.

``program`` compiles a function of pytrees for the arrays in them, as ``equinox.filter_jit`` does.
Three things differ. Functions count by their fingerprint (``identified``), so that a problem that
is built anew from the same code compiles nothing, and one whose code reads a global that has
changed since compiles again. Each function keeps its last ``KEPT`` programs only, with what their
functions have captured. And arrays count by shape and dtype whatever their kind.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import threading
from collections import OrderedDict

import equinox as eqx
import jax

from .fingerprint import is_global, read

KEPT = 64  # programs of each function
ALIASES = 1024
_ARRAY = object()  # the place of an array in a tree


class Code:
    """A function that equals every function of the same fingerprint."""

    __slots__ = ("__weakref__", "digest", "function")

    def __init__(self, function, digest):
        self.function, self.digest = function, digest

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def __eq__(self, other):
        return isinstance(other, Code) and self.digest == other.digest

    def __hash__(self):
        return hash(self.digest)

    def __repr__(self):
        return repr(self.function)


class Bounded:
    """The entries used last, for several threads.

    Parameters
    ----------
    size : int
        How many.
    """

    def __init__(self, size):
        self.size, self._entries, self._lock = size, OrderedDict(), threading.Lock()

    def get(self, key, make):
        """The entry of a key; ``make()`` where there is none."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            else:
                self._entries[key] = make()
                while len(self._entries) > self.size:
                    self._entries.popitem(last=False)
            return self._entries[key]

    def peek(self, key, default):
        """The entry of a key, if there is one."""
        with self._lock:
            return self._entries.get(key, default)


_aliases = Bounded(ALIASES)
_tables: list[Bounded] = []  # of the programs of each function
_traces = 0


def traces() -> int:
    """How many programs were traced so far."""
    return _traces


def all_programs() -> list[Bounded]:
    """The table of programs of each function."""
    return _tables


def digest_of(value, data=False) -> str:
    """The digest of code, the same before and after code was traced that changes what it reads."""
    digest = read(value, data).digest
    return _aliases.peek(digest, digest)


@contextlib.contextmanager
def traced_once(tree, digest):
    """Let what tracing changes, a counter in a loss say, not count as a change of the code.

    Parameters
    ----------
    tree : pytree
        Of which functions are ``Code``.
    digest : str
        Of the plain tree, before anything was traced.
    """
    codes = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, Code)]
    parts = [(plain(tree), digest), *((code.function, code.digest) for code in codes)]
    before = _traces
    try:
        yield
    finally:
        if _traces != before:
            for part, known in parts:
                _aliases.get(read(part, False).digest, lambda known=known: known)


def _is_code(leaf) -> bool:
    """Whether a leaf is a function that its name alone does not tell."""
    return callable(leaf) and not (isinstance(leaf, type) or is_global(leaf))


def plain(tree):
    """The tree with the user's functions in the place of their ``Code``."""
    leaves, structure = jax.tree.flatten(tree)
    plain_ones = [leaf.function if isinstance(leaf, Code) else leaf for leaf in leaves]
    return _rebuilt(tree, structure, leaves, plain_ones)


def identified(tree):
    """The tree with each of its user's functions as ``Code``."""
    leaves, structure = jax.tree.flatten(plain(tree))
    known = list(leaves)
    for place, leaf in enumerate(leaves):
        if _is_code(leaf):
            known[place] = Code(leaf, digest_of(leaf))
    return _rebuilt(tree, structure, leaves, known)


def _rebuilt(tree, structure, leaves, changed):
    """The tree with changed leaves; itself where there are none, with the lists that it holds."""
    if all(map(operator.is_, changed, leaves)):
        return tree
    return jax.tree.unflatten(structure, changed)


def signature(tree):
    """(key, arrays): what a program of the tree depends on, and the arrays that may change.

    Functions count by their digest; arrays by shape and dtype; other leaves by type and value.
    """
    leaves, structure = jax.tree.flatten(tree)
    arrays, key = [], [structure]
    for leaf in leaves:
        if eqx.is_array(leaf):
            arrays.append(leaf)
            key.append((leaf.shape, leaf.dtype))
        elif isinstance(leaf, Code):
            key.append(leaf.digest)
        else:
            key.append((type(leaf), leaf))
    return tuple(key), arrays


class _Template:
    """A pytree without its arrays."""

    def __init__(self, tree):
        leaves, self._structure = jax.tree.flatten(tree)
        self._leaves = [_ARRAY if eqx.is_array(leaf) else leaf for leaf in leaves]
        self._all = all(leaf is _ARRAY for leaf in self._leaves)

    def filled(self, arrays):
        """The tree with these arrays."""
        leaves = arrays
        if not self._all:
            left = iter(arrays)
            leaves = [next(left) if leaf is _ARRAY else leaf for leaf in self._leaves]
        return jax.tree.unflatten(self._structure, leaves)


class _Program:
    """One compiled program: arrays to arrays, and what of its result is not an array."""

    def __init__(self, function, args, donate):
        given = _Template(args)
        self._result = None

        def run(kept, donated):
            global _traces  # noqa: PLW0603
            _traces += 1
            result = function(*given.filled([*kept, *donated]))
            self._result = _Template(result)
            return [leaf for leaf in jax.tree.leaves(result) if eqx.is_array(leaf)]

        run.__name__ = run.__qualname__ = function.__name__
        self._run = jax.jit(run, donate_argnums=1 if donate else ())

    def __call__(self, kept, donated):
        arrays = self._run(kept, donated)
        return self._result.filled(arrays)


def program(function=None, *, donate=False):
    """Compile a function of pytrees for the arrays in them.

    Parameters
    ----------
    function : callable
        Of positional arguments; its result is a pytree.
    donate : bool
        Whether the arrays of all arguments but the first give up their memory.
    """
    if function is None:
        return functools.partial(program, donate=donate)
    programs = Bounded(KEPT)
    _tables.append(programs)

    @functools.wraps(function)
    def call(*args):
        key, arrays = signature(args)
        kept = len(signature(args[0])[1]) if donate else len(arrays)
        compiled = programs.get((key, kept), lambda: _Program(function, args, donate))
        return compiled(arrays[:kept], arrays[kept:])

    return call
