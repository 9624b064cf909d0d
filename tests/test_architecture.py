"""Imports point one way, private packages stay private, and nothing heavy happens on import."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEVELS = [
    {"status", "html", "module", "compiling"},
    {"result", "_version", "_threads", "stream", "arithmetic", "targets", "serial", "registry",
     "regularizers"},
    {"fingerprint", "sample"},
    {"programs"}, {"linalg", "losses", "kernels", "networks"}, {"spaces", "parameters"}, {"instance"}, {"problem"},
    {"function", "needs"}, {"solvers"}, {"hypergradients"}, {"criteria"}, {"optimizers"}, {"search"},
    {"estimators", "metrics", "datasets"}, {"inspection", "tabular"}, {"cli"},
]
# Inside a package, likewise.
PACKAGES = {
    "search": [
        {"bounds", "space_contract"}, {"contract", "diagnosis", "evaluation"}, {"checkpoint"}, {"session"}, {"run", "solving"}, {"verbs"},
        {"check", "uncertainty"},
    ],
    "solvers": [
        {"base"}, {"centers"}, {"_newton"}, {"_traced"}, {"exact", "nystrom", "full_cg"},
        {"_training", "falkon"}, {"coefficients"}, {"gradient", "quasi_newton", "falkon_library", "proximal"},
        {"auto"},
    ],
    "estimators": [{"_common"}, {"kernel"}, {"search", "instruments", "reweighting", "power_target"}],
}
# Modules of a package that others may import besides its face, until the face offers their names.
OPEN = {
    "linalg": {"lbfgs", "sharding"}, "spaces": {"base", "neural"},
    "solvers": {"base", "centers", "coefficients", "exact"},
    "hypergradients": {"around", "base", "implicit", "sampling", "linear_solvers"},
    "search": {"checkpoint", "session", "verbs", "uncertainty"},
    "networks": set(), "kernels": {"base"}, "criteria": set(), "optimizers": {"base"},
    "estimators": {"_common", "kernel", "instruments", "reweighting", "search"},
}
PRIVATE = {  # whom a private package is shown to, besides its own
    ("solvers", "_newton"): {"criteria"}, ("solvers", "_traced"): {"hypergradients", "search"}, ("solvers", "_training"): {"hypergradients", "estimators"},
    ("estimators", "_common"): {"inspection", "tabular", "cli"},
}
ALLOWED = {
    "sklearn": {"estimators", "metrics", "datasets", "inspection", "cli", "tabular"},
    "optax": {"optimizers", "solvers", "hypergradients", "estimators"},
    "matplotlib": {"inspection"},
    "pandas": {"tabular", "cli"},
    "skrub": {"tabular"},
}


def modules():
    for path in sorted((ROOT / "kbo").rglob("*.py")):
        yield path, path.relative_to(ROOT / "kbo").with_suffix("").parts


def imported(path, parts):
    """(dotted name, whether it is kbo's) of everything that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split(".")), False
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield tuple(node.module.split(".")), False
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level]
            if node.module:
                yield (*base, *node.module.split(".")), True
            else:
                for alias in node.names:
                    yield (*base, alias.name), True


def level_of(levels):
    return {name: k for k, names in enumerate(levels) for name in names}


def test_imports_point_one_way():
    wrong, top = [], level_of(LEVELS)
    inside = {package: level_of(levels) for package, levels in PACKAGES.items()}
    for path, parts in modules():
        own = parts[0]
        if own in ("__init__", "__main__"):
            continue
        assert own in top, f"{path} has no place in the architecture: give it a level"
        for name, internal in imported(path, parts):
            if not internal:
                if own not in ALLOWED.get(name[0], {own}) or name[0] == "theory":
                    wrong.append(f"{'.'.join(parts)} imports {name[0]}")
                continue
            if name[0] in top and name[0] != own and top[name[0]] >= top[own]:
                wrong.append(f"{'.'.join(parts)} imports {'.'.join(name)}")
            if name[0] == own and own in inside and len(name) > 1 and parts[1] != "__init__":
                levels, mine, other = inside[own], parts[1], name[1]
                assert mine in levels, f"{path} has no place in {own}: give it a level"
                if other in levels and other != mine and levels[other] >= levels[mine]:
                    wrong.append(f"{'.'.join(parts)} imports {'.'.join(name)}")
    assert not wrong, wrong


def test_packages_are_entered_by_their_faces():
    wrong = []
    for path, parts in modules():
        for name, internal in imported(path, parts):
            if not internal or len(name) < 2 or name[0] == parts[0] or parts[0] == "__init__":
                continue
            shown = parts[0] in PRIVATE.get(name[:2], set())
            private = name[1].startswith("_") and not shown
            if private or not (shown or name[1] in OPEN.get(name[0], {name[1]})):
                wrong.append(f"{'.'.join(parts)} imports {'.'.join(name)}")
    assert not wrong, wrong


def test_modules_are_short():
    files = [p for p, _ in modules()] + sorted((ROOT / "theory").rglob("*.py"))
    long = {p.name: k for p in files if (k := len(p.read_text().splitlines())) > 300}
    assert not long, long


def test_import_starts_no_backend_and_needs_no_extras():
    code = (
        "import sys\n"
        "for name in ('matplotlib', 'falkon'): sys.modules[name] = None\n"
        "import kbo, jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'importing kbo started a jax backend'\n"
        "assert not jax.config.jax_enable_x64\n"
        "assert 'sklearn' not in sys.modules, 'scikit-learn is imported where nothing needs it'\n"
        "for name in kbo.__all__: assert getattr(kbo, name) is getattr(kbo, name)\n"
        "assert set(kbo.__all__) <= set(dir(kbo))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
