"""The base of all classes here that are dataclasses, frozen, and pytrees."""

from __future__ import annotations

import equinox as eqx


class Module(eqx.Module):
    """An ``equinox.Module`` whose methods are ordinary ones.

    Equinox makes a pytree of a method whenever it is looked up, so that JAX can trace what the
    method is bound to. Here functions are compiled for the object itself (``kbo.programs``), and
    making these pytrees took a quarter of a fit of 150 rows.
    """

    __getattribute__ = object.__getattribute__
