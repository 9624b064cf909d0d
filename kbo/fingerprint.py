"""A digest of everything that a computation depends on: numbers, code, and what the code reads.

It has two uses. A run resumed from a checkpoint must be the run that wrote it. And a compiled
program may be used again only while the functions compiled into it are still the same. Two
functions are the same if their instructions, their defaults, the values that they close over,
the globals that they read and the helpers that they call are the same.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import sys
import types
import weakref
from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np

from .stream import Stream

OWN = ("kbo", "theory")  # identified by their names, not by their code
NAMED = (enum.Enum, jax.Device, jax.sharding.Sharding, type(jax.tree.structure(0)), slice, range)
WRAPPER = (*functools.WRAPPER_ASSIGNMENTS, "__wrapped__")
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), np.dtype)


@dataclass(frozen=True)
class Reading:
    """The digest of an object, and what could not be read of it.

    Attributes
    ----------
    digest : str
    unseen : tuple of str
        The objects whose state could not be read, each with the place where it was found.
    traced : bool
        Whether a function holds a value that a JAX transformation is tracing, so that the digest
        does not tell it from others.
    """

    digest: str
    unseen: tuple[str, ...]
    traced: bool = False


def read_structure(tree, data=True) -> Reading:
    """Read a pytree: its classes, static fields, numbers and functions.

    Parameters
    ----------
    tree : pytree
    data : bool
        Whether the arrays of the tree itself count; those that functions hold always do.
    """
    reader = _Reader(data)
    reader.read(tree, "")
    return Reading(reader.hexdigest(), tuple(reader.unseen), reader.traced)


def fingerprint(tree) -> str:
    """The digest of ``read``; the same script gives the same digest in another process."""
    return read_structure(tree).digest


@functools.lru_cache(maxsize=4096)
def is_library(module: str) -> bool:
    """Whether a module is installed, rather than written by the user."""
    root = module.partition(".")[0]
    if root in OWN or root in sys.stdlib_module_names:
        return True
    path = getattr(sys.modules.get(root), "__file__", None) or ""
    return "site-packages" in path or "dist-packages" in path


def is_global(function) -> bool:
    """Whether a library's module holds this very function, so that its name identifies it."""
    module = getattr(function, "__module__", None)
    if module is None or not is_library(module):
        return False
    name = getattr(function, "__qualname__", "")
    return getattr(sys.modules.get(module), name, None) is function


@functools.lru_cache(maxsize=4096)
def _globals_read(code) -> tuple[str, ...]:
    """The names of the globals that the instructions load, in the order of the code."""
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    names = (i.argval for i in dis.get_instructions(code) if i.opname in loads)
    return tuple(dict.fromkeys(names))


class _Reader:
    """Walks everything that can be reached from an object, each object once."""

    def __init__(self, data):
        self.unseen: list[str] = []
        self.traced = False
        self._digest = hashlib.blake2b(digest_size=32)
        self._tokens: list = []  # not yet digested
        self._data = data
        self._known: dict[int, int] = {}
        self._alive = []  # keeps objects alive, so that no id is used twice

    def hexdigest(self) -> str:
        """The digest of all that was read."""
        for token in self._tokens:
            raw = token if isinstance(token, bytes) else str(token).encode()
            self._digest.update(b"%d:" % len(raw))
            self._digest.update(raw)
        self._tokens.clear()
        return self._digest.hexdigest()

    def read(self, value, where, code=False):
        """Read one object; ``code`` says that it was reached through a function."""
        if isinstance(value, PLAIN):
            self._tokens += (type(value).__name__, repr(value))
            return
        if id(value) in self._known:
            self._tokens += ("again", self._known[id(value)])
            return
        self._known[id(value)] = len(self._known)
        self._alive.append(value)
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            self._array(value, where, code)
            return
        self._tokens.append(type(value).__name__)
        for kind, own in self._KINDS:
            if isinstance(value, kind):
                own(self, value, where, code)
                return
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None:  # jax.jit, functools.cache, functools.wraps
            self.read(wrapped, where, code)
            rest = {k: v for k, v in getattr(value, "__dict__", {}).items() if k not in WRAPPER}
            self._mapping(rest, where, True)  # a rule of jax.custom_jvp, a field of one's own
        else:
            self._object(value, where, code)

    def _each(self, values, where, code):
        values = tuple(values)
        self._tokens.append(f"{len(values)} parts")
        for value in values:
            self.read(value, where, code)

    def _array(self, array, where, code):
        self._tokens.append("array")
        if isinstance(array, jax.core.Tracer):
            self.traced |= code
            return
        if not (self._data or code):
            return
        self._tokens += (array.dtype, array.shape)
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        array = np.asarray(array)
        if array.dtype == object:
            self._each(array.ravel().tolist(), where, code)
        else:
            self._tokens.append(array.tobytes())
            self.hexdigest()  # so that no copy of the array is kept

    def _function(self, function, where, code):
        self._each((function.__defaults__, function.__kwdefaults__), where, True)
        for cell in function.__closure__ or ():
            try:
                self.read(cell.cell_contents, where, True)
            except ValueError:  # a variable that is closed over but not assigned
                self._tokens.append("empty cell")
        if is_library(function.__module__ or ""):
            self._tokens += (function.__module__, function.__qualname__)
        else:
            self._code(function.__code__, function.__globals__, where)

    def _code(self, code, names, where):
        names_of_code = code.co_names, code.co_varnames, code.co_freevars
        self._tokens += (code.co_code, *names_of_code, code.co_flags)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, names, where)
            else:
                self.read(constant, where, True)
        for name in _globals_read(code):
            if name not in names:
                self._tokens.append(name)  # a builtin
            elif isinstance(names[name], types.ModuleType):
                self._module(names[name], code.co_names, where)
            else:
                self._tokens.append(name)
                self.read(names[name], f"{where} > {code.co_name} reads {name}", True)

    def _module(self, module, names, where):
        """A user's module counts by those of its contents that the code names."""
        self._tokens.append(module.__name__)
        if is_library(module.__name__):
            return
        for name in names:
            found = vars(module).get(name)
            if isinstance(found, types.ModuleType):
                if found.__name__ == f"{module.__name__}.{name}":
                    self._module(found, names, where)
            elif name in vars(module):
                self._tokens.append(name)
                self.read(found, f"{where} > {module.__name__}.{name}", True)

    def _class(self, kind, where, code):
        self._tokens += (kind.__module__, kind.__qualname__)
        if is_library(kind.__module__):
            return
        self._each(kind.__bases__, where, True)
        for name, found in vars(kind).items():
            # The function inside a static or class method, or a method of an Equinox module.
            member = getattr(found, "__func__", getattr(found, "method", found))
            written = isinstance(member, types.FunctionType) and (
                member.__code__.co_filename != "<string>"  # these are generated by dataclasses
            )
            if name != "_abc_impl" and (written or not name.startswith("__")):  # abc's own cache
                self._tokens.append(name)
                self.read(member, f"{where} > {kind.__qualname__}.{name}", True)

    def _mapping(self, mapping, where, code):
        self._tokens.append(f"{len(mapping)} entries")
        for key in sorted(mapping, key=repr):
            self.read(key, where, code)
            self.read(mapping[key], f"{where}[{key!r}]" if where else str(key), code)

    def _object(self, value, where, code):
        """An instance: its class, and its fields, its attributes or what pickle would store."""
        self.read(type(value), where, True)
        if isinstance(value, eqx.Module):
            fields = vars(value)
            for name in value.__dataclass_fields__:
                self._tokens.append(name)
                self.read(fields.get(name), f"{where}.{name}" if where else name, code)
            return None
        node = jax.tree_util.default_registry.flatten_one_level(value)
        if node is not None:
            children, aux = node
            self._each(children, where, code)
            return self.read(aux, where, True)
        state = getattr(value, "__dict__", None)
        if state is not None and not is_library(type(value).__module__):
            return self._mapping(state, where, True)
        try:  # what pickle would store
            _, *parts = value.__reduce_ex__(4)
        except Exception:
            return self._opaque(value, where, code)
        return self._each(parts, where, True)

    def _builtin(self, value, where, code):
        self._tokens += (getattr(value, "__module__", ""), value.__name__)
        self.read(getattr(value, "__self__", None), where, True)

    def _opaque(self, value, where, code):
        self.unseen.append(f"{where or 'the problem'} ({type(value).__name__} object)")

    _KINDS = (
        (types.FunctionType, _function),
        (types.MethodType, lambda self, m, where, code: self._each(
            (m.__func__, m.__self__), where, True)),
        (functools.partial, lambda self, p, where, code: self._each(
            (p.func, p.args, p.keywords), where, True)),
        (types.ModuleType, lambda self, m, where, code: self._tokens.append(m.__name__)),
        (type, _class),
        (types.BuiltinFunctionType | np.ufunc, _builtin),
        (NAMED, lambda self, v, where, code: self._tokens.append(v)),
        (Stream, lambda self, s, where, code: self._tokens.append(s.fingerprint())),
        (property, lambda self, p, where, code: self._each((p.fget,), where, True)),
        (tuple | list, _each),
        (set | frozenset, lambda self, s, where, code: self._each(
            sorted(s, key=repr), where, code)),
        (dict | types.MappingProxyType, _mapping),
        (np.random.Generator, lambda self, g, where, code: self.read(
            g.bit_generator.state, where, True)),
        (types.GeneratorType | weakref.ref, _opaque),
    )
