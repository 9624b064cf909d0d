"""Imports point one way, and nothing heavy happens on import."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEVELS = [
    {"result", "_version", "_threads", "stream", "arithmetic", "targets"},
    {"fingerprint", "sample"},
    {"programs", "linalg", "losses", "kernels", "networks", "checkpoint"}, {"spaces"}, {"problem"}, {"contract", "diagnosis"},
    {"function"}, {"solvers"}, {"hypergradients"}, {"criteria"}, {"optimizers"}, {"run"}, {"minimize"}, {"check", "uncertainty"},
    {"estimators", "metrics", "datasets"}, {"inspection", "tabular"}, {"cli"},
]
LEVEL = {name: k for k, names in enumerate(LEVELS) for name in names}
ALLOWED = {
    "sklearn": {"estimators", "metrics", "datasets", "inspection", "cli", "tabular"},
    "optax": {"optimizers", "solvers", "hypergradients", "estimators"},
    "matplotlib": {"inspection"},
    "pandas": {"tabular", "cli"},
    "skrub": {"tabular"},
}


def modules():
    for path in sorted((ROOT / "kbo").rglob("*.py")):
        yield path, path.relative_to(ROOT / "kbo").parts


def imported(path, parts):
    """(top-level package or kbo module, …) that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], False
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0], False
        elif isinstance(node, ast.ImportFrom) and node.level == len(parts):
            names = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
            for name in names:
                yield name, True


def test_imports_point_one_way():
    wrong = []
    for path, parts in modules():
        own = parts[0].removesuffix(".py")
        if own in ("__init__", "__main__"):
            continue
        assert own in LEVEL, f"{path} has no place in the architecture: give it a level"
        for name, internal in imported(path, parts):
            if internal and name in LEVEL and name != own and LEVEL[name] >= LEVEL[own]:
                wrong.append(f"{path.name} imports {name}")
            if not internal and own not in ALLOWED.get(name, {own}):
                wrong.append(f"{path.name} imports {name}")
            if name == "theory":
                wrong.append(f"{path.name} imports theory")
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
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
