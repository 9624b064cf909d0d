"""The base of all classes here that are dataclasses, frozen, and pytrees."""

from __future__ import annotations

import equinox as eqx


class Module(eqx.Module):
    """An ``equinox.Module`` whose methods are ordinary ones, if it is one of this library.

    Equinox makes a pytree of a method whenever it is looked up, so that JAX can trace what the
    method is bound to. Functions are compiled here for the object itself (``kbo.programs``), and
    making these pytrees took a quarter of a fit of 150 rows. Subclasses of users keep them.
    """

    __getattribute__ = object.__getattribute__

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if cls.__module__.partition(".")[0] != "kbo":
            cls.__getattribute__ = eqx.Module.__getattribute__
