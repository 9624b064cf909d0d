"""Measurements in processes of their own: nothing one model sets or compiles serves another."""

import json
import subprocess


def fresh(command, limit):
    """What a command prints in a new process, read as JSON; None where it takes over ``limit`` s.

    Raises
    ------
    ModuleNotFoundError
        Where that is what the process died of.
    RuntimeError
        With its output, where it failed otherwise.
    """
    try:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as failed:
        last = failed.stderr.strip().splitlines()[-1:]
        if last and last[0].startswith("ModuleNotFoundError"):
            raise ModuleNotFoundError(last[0]) from failed
        raise RuntimeError(f"{command} failed:\n{failed.stderr}") from failed
    return json.loads(done.stdout)
