"""Compiled programs that serve every problem of the same code, in tables of bounded size.

``program`` compiles a function of pytrees for the arrays in them, as ``equinox.filter_jit`` does,
with three differences. Functions are compared by their fingerprint (``identified``): a problem
that is built again from the same code compiles nothing, and one whose code reads a global that
has changed since compiles again. Each function keeps only its last ``KEPT`` programs, with what
their functions have captured. And arrays are compared by shape and dtype, whether they are
NumPy's or JAX's.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import threading
from collections import OrderedDict

import equinox as eqx
import jax

from .fingerprint import is_global, read_structure

KEPT = 64  # compiled programs kept for each function
SMALL = 256**2  # numbers in the largest array of a program that runs for a moment only
# XLA's emitters of fused loops take a third of the compilation, and save up to half the time of a
# run: a first fit of 300 rows takes 0.4 s longer with them, and each later one 0.2 s less.
# Later versions of XLA have no other way, and no such option.
QUICK = {"xla_cpu_use_fusion_emitters": False}
ALIASES = 1024
_ARRAY = object()  # marks the place of an array in a tree


class Code:
    """A function that equals every function with the same fingerprint."""

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
    """A table of the most recently used entries, for use by several threads.

    Parameters
    ----------
    size : int
        How many entries are kept.
    """

    def __init__(self, size):
        self.size, self._entries, self._lock = size, OrderedDict(), threading.Lock()

    def get(self, key, make):
        """The entry of a key, made by ``make()`` if there is none."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            else:
                self._entries[key] = make()
                while len(self._entries) > self.size:
                    self._entries.popitem(last=False)
            return self._entries[key]

    def peek(self, key, default):
        """The entry of a key, or ``default`` if there is none."""
        with self._lock:
            return self._entries.get(key, default)


_aliases = Bounded(ALIASES)
_tables: list[Bounded] = []  # of the programs of each function
_traces = 0


def traces() -> int:
    """How many programs have been traced so far."""
    return _traces


def all_programs() -> list[Bounded]:
    """The tables of programs, one for each function."""
    return _tables


class HoldsTracer(TypeError):
    """A function holds a value that JAX is tracing, so that it is one of that trace alone."""


def digest_of(value, data=False) -> str:
    """The digest of code; if tracing the code changed what it reads, the digest from before.

    Raises
    ------
    HoldsTracer
        If a function of the value closes over what a JAX transformation is tracing.
    """
    reading = read_structure(value, data)
    if reading.traced:
        raise HoldsTracer(
            "a function of the problem closes over a value that jax.jit, grad, vmap or scan is "
            "tracing: inside a JAX program use kbo.solve or kbo.outer_objective"
        )
    return _aliases.peek(reading.digest, reading.digest)


@contextlib.contextmanager
def traced_once(tree, digest):
    """Keep changes made by tracing, as to a counter in a loss, from counting as changes of code.

    The digests of the code after tracing are made aliases of those before.

    Parameters
    ----------
    tree : pytree
        A tree whose functions are ``Code``.
    digest : str
        Digest of the plain tree, before anything was traced.
    """
    codes = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, Code)]
    parts = [(plain(tree), digest), *((code.function, code.digest) for code in codes)]
    before = _traces
    try:
        yield
    finally:
        if _traces != before:
            for part, known in parts:
                _aliases.get(read_structure(part, False).digest, lambda known=known: known)


def _is_code(leaf) -> bool:
    """Whether a callable leaf is a function that its name does not identify."""
    return not (isinstance(leaf, type) or is_global(leaf))


def plain(tree):
    """The tree with each ``Code`` replaced by the user's function."""
    leaves, structure = jax.tree.flatten(tree)
    plain_ones = [leaf.function if isinstance(leaf, Code) else leaf for leaf in leaves]
    return _rebuilt(tree, structure, leaves, plain_ones)


def identified(tree, earlier=None):
    """The tree with each of the user's functions wrapped as ``Code``.

    Functions that a tree ``earlier`` holds as ``Code`` are not read again.
    """
    codes = {id(leaf.function): leaf for leaf in jax.tree.leaves(earlier) if isinstance(leaf, Code)}
    leaves, structure = jax.tree.flatten(plain(tree))
    wrapped = list(leaves)
    for place, leaf in enumerate(leaves):
        if callable(leaf) and _is_code(leaf):
            wrapped[place] = codes.get(id(leaf)) or Code(leaf, digest_of(leaf))
    return _rebuilt(tree, structure, leaves, wrapped)


def _rebuilt(tree, structure, leaves, changed):
    """The tree with changed leaves, or the very same tree if nothing changed."""
    if all(map(operator.is_, changed, leaves)):
        return tree
    return jax.tree.unflatten(structure, changed)


def signature(tree):
    """(key, arrays): what a program of the tree depends on, and the arrays that may change.

    In the key, functions are represented by their digest, arrays by shape and dtype, and other
    leaves by type and value.
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
        """The tree with the given arrays in their places."""
        leaves = arrays
        if not self._all:
            left = iter(arrays)
            leaves = [next(left) if leaf is _ARRAY else leaf for leaf in self._leaves]
        return jax.tree.unflatten(self._structure, leaves)


@functools.cache
def quick_options():
    """Compiler options for small programs; None where this version of XLA does not know them."""
    try:
        jax.jit(lambda x: x, compiler_options=QUICK).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return QUICK


class _Program:
    """One compiled program from arrays to arrays, and the rest of its result."""

    def __init__(self, function, args, donate, nested):
        given = _Template(args)
        self._result = None

        def run(kept, donated):
            global _traces  # noqa: PLW0603
            _traces += 1
            result = function(*given.filled([*kept, *donated]))
            self._result = _Template(result)
            return [leaf for leaf in jax.tree.leaves(result) if eqx.is_array(leaf)]

        run.__name__ = run.__qualname__ = function.__name__
        small = all(leaf.size <= SMALL for leaf in signature(args)[1])
        quick = small and not nested and jax.default_backend() == "cpu"
        self._run = jax.jit(
            run, donate_argnums=1 if donate else (),
            compiler_options=quick_options() if quick else None,
        )

    def __call__(self, kept, donated):
        arrays = self._run(kept, donated)
        return self._result.filled(arrays)


def program(function=None, *, donate=False, nested=False):
    """Compile a function of pytrees for the arrays in them.

    Parameters
    ----------
    function : callable
        Takes positional arguments and returns a pytree.
    donate : bool
        Whether to donate the memory of the arrays in all arguments but the first.
    nested : bool
        Whether it may be called inside another JAX program, with which it is then compiled.
    """
    if function is None:
        return functools.partial(program, donate=donate, nested=nested)
    programs = Bounded(KEPT)
    _tables.append(programs)

    @functools.wraps(function)
    def call(*args):
        key, arrays = signature(args)
        kept = sum(map(eqx.is_array, jax.tree.leaves(args[0]))) if donate else len(arrays)
        compiled = programs.get((key, kept), lambda: _Program(function, args, donate, nested))
        return compiled(arrays[:kept], arrays[kept:])

    return call
