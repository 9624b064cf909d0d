"""Tables of results, as JSON for programs and as Markdown for readers."""

import json
import platform
from pathlib import Path

import jax
import numpy as np
import scipy
import sklearn

from kbo.serial import write_atomically

RESULTS = Path(__file__).parent / "results"


def write_results(name, rows):
    """Write benchmarks/results/NAME.json and .md from a list of dicts with the same keys."""
    RESULTS.mkdir(exist_ok=True)
    about = {
        "machine": platform.machine(), "cores": __import__("os").cpu_count(),
        "python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__,
        "scipy": scipy.__version__, "scikit-learn": sklearn.__version__,
    }
    text = json.dumps({"about": about, "rows": rows}, indent=2, default=float)
    write_atomically(RESULTS / f"{name}.json", lambda f: f.write(text), "w")
    columns = list(rows[0])
    lines = [f"# {name}", "", ", ".join(f"{k} {v}" for k, v in about.items()), ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row[c]) for c in columns) + " |" for row in rows]
    write_atomically(RESULTS / f"{name}.md", lambda f: f.write("\n".join(lines) + "\n"), "w")


def read_results(name):
    """The rows of an earlier run, or an empty list."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []
