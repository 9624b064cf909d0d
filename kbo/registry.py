"""Classes that users give by name, such as kernels and losses."""

from __future__ import annotations


class Registry(dict[str, type]):
    """Name ↦ class.

    Parameters
    ----------
    kind : type
        What every class must be a subclass of.
    fields : tuple of str
        The fields that every class must have.
    **known : type
    """

    def __init__(self, kind: type, fields: tuple[str, ...] = (), **known: type):
        super().__init__(known)
        self.kind, self.fields = kind, fields

    def register(self, name: str):
        """Class decorator: make a class known by ``name``.

        Parameters
        ----------
        name : str
            What users then give in place of an instance, which is made without arguments.

        Raises
        ------
        TypeError
            If it is not of the right kind.
        ValueError
            If it lacks a field, or the name belongs to another class.
        """

        def registered(member):
            if not (isinstance(member, type) and issubclass(member, self.kind)):
                raise TypeError(f"{member!r} must be a subclass of {self.kind.__qualname__}")
            missing = set(self.fields) - set(member.__dataclass_fields__)
            if missing:
                raise ValueError(f"{member.__name__} needs the fields {sorted(missing)}")
            known = self.setdefault(name, member)
            # A class that is defined anew, as in a notebook, replaces itself.
            if (known.__module__, known.__qualname__) != (member.__module__, member.__qualname__):
                raise ValueError(f"{name!r} is the name of {known.__qualname__}: choose another")
            self[name] = member
            return member

        return registered
