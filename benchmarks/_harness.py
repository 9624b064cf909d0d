"""What the benchmarks share: options, clocks, new processes, and files of results.

Only the standard library is imported above. Some rivals run in an interpreter without kbo, and kbo
has to be imported before NumPy where it is measured.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def arguments(doc, **defaults):
    """Read the command line of a script whose options all have plain values.

    Parameters
    ----------
    doc : str
        Shown by ``--help``.
    **defaults : int, float, list or None
        The default of each option, which also says what the option takes: one number, one or
        several values like those of the list, or, for None, a text. Underscores become dashes.

    Returns
    -------
    argparse.Namespace
    """
    parser = parser_of(doc)
    for name, default in defaults.items():
        several = isinstance(default, list)
        kind = str if default is None else type(default[0] if several else default)
        more = {"nargs": "+"} if several else {}
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, **more)
    return parser.parse_args()


def parser_of(doc):
    """An ``argparse.ArgumentParser`` whose help shows a script's docstring as it is written."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def timed(function, *args, **options):
    """Call a function.

    Returns
    -------
    seconds : float
    result : object
    """
    started = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - started, result


def peak_memory():
    """Peak memory of this process, in MiB."""
    # ru_maxrss would include the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def fresh(function, *args, limit=None, python=sys.executable):
    """Call a function in a new process, so that it does not profit from what others have compiled.

    Parameters
    ----------
    function : callable
        A function of a script in this package, by name. What it prints is dropped.
    *args : numbers, texts or None
        They travel as JSON.
    limit : float or None
        Seconds after which the process is stopped.
    python : path-like
        The interpreter.

    Returns
    -------
    object or None
        What the function returned, from JSON; None if it took longer than ``limit``.

    Raises
    ------
    ModuleNotFoundError
        If the function failed for that reason.
    RuntimeError
        If it failed otherwise, with its output.
    """
    # The module of a function of the running script calls itself __main__; its spec knows better.
    module = function.__globals__["__spec__"].name
    command = [python, "-m", "benchmarks._harness", module, function.__name__]
    try:
        done = subprocess.run(
            [*command, json.dumps(args)], capture_output=True, text=True, check=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as failed:
        last = failed.stderr.strip().splitlines()[-1:]
        if last and last[0].startswith("ModuleNotFoundError"):
            raise ModuleNotFoundError(last[0]) from failed
        raise RuntimeError(f"{command} failed:\n{failed.stderr}") from failed
    return json.loads(done.stdout.splitlines()[-1])


def interpreters(falkon_python):
    """Models in their precisions, with the interpreters that run them.

    Parameters
    ----------
    falkon_python : path-like or None
        An interpreter that has the falkon library; None leaves it out.

    Returns
    -------
    dict of {str: path-like}
    """
    found = {"kbo float64": sys.executable}
    if falkon_python:
        found |= {f"falkon {dtype}": falkon_python for dtype in ("float64", "float32")}
    return found


class Table:
    """Rows of results, printed and written as they come, so that nothing finished is lost.

    Parameters
    ----------
    name : str
        Of the files in benchmarks/results.

    Attributes
    ----------
    rows : list of dict
    """

    def __init__(self, name):
        self.name, self.rows = name, []

    def add(self, row):
        """Add a row, print it, and write the table."""
        self.rows.append(row)
        print(row, flush=True)
        write_results(self.name, self.rows)


def write_results(name, rows):
    """Write benchmarks/results/NAME.json for programs and NAME.md for readers.

    Parameters
    ----------
    name : str
    rows : list of dict
        With the same keys.
    """
    import jax
    import numpy as np
    import scipy
    import sklearn

    RESULTS.mkdir(exist_ok=True)
    about = {
        "machine": platform.machine(), "cores": os.cpu_count(),
        "python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__,
        "scipy": scipy.__version__, "scikit-learn": sklearn.__version__,
    }
    text = json.dumps({"about": about, "rows": rows}, indent=2, default=float)
    write_text(RESULTS / f"{name}.json", text)
    columns = list(rows[0])
    lines = [f"# {name}", "", ", ".join(f"{k} {v}" for k, v in about.items()), ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row[c]) for c in columns) + " |" for row in rows]
    write_text(RESULTS / f"{name}.md", "\n".join(lines) + "\n")


def read_results(name):
    """The rows of an earlier run, or an empty list."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def write_text(path, text):
    """Write a text file whole or not at all."""
    from kbo.serial import write_atomically

    write_atomically(path, lambda file: file.write(text), "w")


def stored(store, name, make):
    """A result from a store, so that a run that was stopped continues where it was.

    Parameters
    ----------
    store : path-like or None
        The folder; None keeps nothing.
    name : str
        Of the result's file, without .json.
    make : callable
        Makes the result if it is not in the store. It returns None where there is none, which is
        not stored.

    Returns
    -------
    object or None
    """
    if store is None:
        return make()
    path = Path(store) / f"{name}.json"
    if not path.exists():
        made = make()
        if made is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(made, default=float))
    return json.loads(path.read_text())


def pyplot():
    """matplotlib.pyplot, for a machine without a display."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def write_figure(name, figure, **options):
    """Write benchmarks/results/NAME.png, with the options of ``savefig``, and close the figure."""
    from kbo.serial import write_atomically

    write_atomically(
        RESULTS / f"{name}.png", lambda file: figure.savefig(file, format="png", **options)
    )
    pyplot().close(figure)


def _main(module, name, args):
    """The other side of ``fresh``: call a function and print what it returns, as JSON."""
    found = getattr(importlib.import_module(module), name)(*json.loads(args))
    print(json.dumps(found, default=float))


if __name__ == "__main__":
    _main(*sys.argv[1:])
