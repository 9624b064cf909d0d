"""Measurements in new processes, so that no model profits from what another has set or compiled."""

import json
import subprocess


def fresh(command, limit):
    """The JSON that a command prints in a new process; None if it takes over ``limit`` seconds.

    Raises
    ------
    ModuleNotFoundError
        If the command failed for that reason.
    RuntimeError
        If it failed otherwise, with its output.
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
