"""Public names and their signatures are written down, so that changing one is a decision.

    python -m tests.test_public_names      # records them anew, in tests/public_names.txt
"""

import enum
import inspect
import types
from pathlib import Path

import kbo
import theory

RECORD = Path(__file__).with_name("public_names.txt")
PACKAGES = (
    "criteria", "datasets", "estimators", "hypergradients", "inspection", "kernels", "losses",
    "metrics", "networks", "optimizers", "regularizers", "solvers", "spaces",
)


def signature(thing):
    if inspect.isclass(thing) and issubclass(thing, enum.Enum):
        return f" = {', '.join(thing.__members__)}"
    if inspect.isclass(thing) and issubclass(thing, Exception) and "__init__" not in vars(thing):
        return ""
    return str(inspect.signature(thing)).split(" -> ")[0]


def methods(thing):
    """What a class defines itself or inherits from kbo, without underscores."""
    own = [base for base in thing.__mro__ if base.__module__.split(".")[0] in ("kbo", "theory")]
    names = sorted({name for base in own for name in vars(base) if not name.startswith("_")})
    for name in names:
        value = inspect.getattr_static(thing, name)
        if isinstance(value, property):
            yield f"    .{name}"
        elif isinstance(value, types.FunctionType | classmethod | staticmethod):
            yield f"    .{name}{signature(getattr(thing, name))}"


def surface():
    """One line for each public name; classes are followed by their methods."""
    modules = [kbo, *(getattr(kbo, name) for name in PACKAGES), theory]
    lines = []
    for module in modules:
        for name in sorted(module.__all__):
            thing = getattr(module, name)
            if isinstance(thing, types.ModuleType | str):
                continue
            known = callable(thing)
            lines.append(f"{module.__name__}.{name}{signature(thing) if known else ''}")
            # Listed where it is at home, or at the top if it has no other place.
            if inspect.isclass(thing) and (module is not kbo or not _elsewhere(name)):
                lines += methods(thing)
    return lines


def _elsewhere(name):
    return any(name in getattr(kbo, package).__all__ for package in PACKAGES)


def test_public_names_and_signatures_are_those_recorded():
    recorded, now = RECORD.read_text().splitlines(), surface()
    gone, new = sorted(set(recorded) - set(now)), sorted(set(now) - set(recorded))
    assert recorded == now, (
        f"gone: {gone}; new: {new}; if that is meant, run python -m tests.test_public_names, and "
        "say it in CHANGELOG.md")


def test_every_public_module_is_walked():
    found = {name for name in kbo.__all__ if inspect.ismodule(getattr(kbo, name))}
    assert found <= {*PACKAGES}


if __name__ == "__main__":
    RECORD.write_text("\n".join(surface()) + "\n")
